"""Prompts for teachers: one Jinja file a version, never edited once used (a test pins their hashes), and the way to fill them."""

from models.prompts.render import render, render_task, slots, template_source, templates

__all__ = ["render", "render_task", "slots", "template_source", "templates"]
