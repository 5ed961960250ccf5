"""A self-contained page: one template, one style, one script, which alone may run (Content-Security-Policy by its hash)."""

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

HERE = Path(__file__).parent


def render_page(template: str, **content: Any) -> str:
    """Everything in `content` that is not Markup is escaped: a text which looks like markup stays text."""
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["seconds"] = _seconds
    script = (HERE / "report_script.js").read_text(encoding="utf-8")
    return environment.get_template(template).render(
        style=Markup((HERE / "report_style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **content,
    )


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"
