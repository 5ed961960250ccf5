"""Where the embedded models and their data lie, and the way back from a prompt of their world to its task."""

import functools
import re
from pathlib import Path

from models.embedded.facts import FACTS, OPENINGS, WORDINGS
from models.embedded.world import Task, make_task

HERE = Path(__file__).resolve().parents[2] / "models" / "embedded"
STUDENT, TEACHER = HERE / "student", HERE / "teacher"
PROMPTS, MIXEVAL = HERE / "data" / "prompts.jsonl", HERE / "data" / "mixeval"
SPLITS = ("sft", "align", "val", "test")

_FIELDS = {
    "x": "(?P<x>.+)",
    "o": "(?P<o>.+)",
    "a": r"(?P<a>\d\d)",
    "b": r"(?P<b>\d\d)",
    "w": "(?P<w>larger|smaller)",
}


@functools.cache
def _patterns() -> list[tuple[str, int, int, re.Pattern[str]]]:
    def compiled(text: str) -> re.Pattern[str]:
        return re.compile(re.sub(r"\\\{(\w)\\\}", lambda m: _FIELDS[m[1]], re.escape(text)))

    wordings = [(family, j, text) for family, texts in WORDINGS.items() for j, text in enumerate(texts)]
    return [(family, i, j, compiled(start + t)) for family, j, t in wordings for i, start in enumerate(OPENINGS)]


def parse_task(prompt: str) -> Task | None:
    """The task behind a prompt of this world, to check stored answers by; None for foreign text."""
    for family, opening, wording, pattern in _patterns():
        found = pattern.fullmatch(prompt)
        if found is None or ("x" in found.groupdict() and found["x"] not in FACTS):
            continue
        task = make_task(family, opening, wording, **found.groupdict())
        if family != "mc" or (len(task.options) == 3 and set(task.options) <= set(FACTS[task.key].domain)):
            return task
    return None
