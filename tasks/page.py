"""A self-contained page: one template, one style, one script, which alone may run (Content-Security-Policy by its hash)."""

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from data_contracts.store import write_text

PAGES = Path(__file__).parent / "pages"


def write_page(path: Path, template: str, **content: Any) -> None:
    """Write the page, whole or not at all. What in `content` is not Markup is escaped: text that looks like it stays text."""
    script = (PAGES / "script.js").read_text(encoding="utf-8")
    page = _environment().get_template(template).render(
        style=Markup((PAGES / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **content,
    )  # fmt: skip
    write_text(path, page)


def cards(macro: str, items: Iterable[dict[str, Any]], size: int) -> list[Markup]:
    """The first `items`, each as a macro of `cards.html.j2` draws it, that fit into `size` bytes together."""
    draw = getattr(_environment().get_template("cards.html.j2").module, macro)
    drawn: list[Markup] = []
    for item in items:
        made = draw(item)
        size -= len(made.encode())
        if size < 0:
            break
        drawn.append(made)
    return drawn


@cache
def _environment() -> Environment:
    made = Environment(loader=FileSystemLoader(PAGES), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    made.filters["seconds"] = seconds
    made.filters["p"] = lambda p: "< 0.001" if p < 0.001 else f"{p:.3f}"
    return made


def seconds(value: float) -> str:
    """Short, in the unit that fits: `4.2 s`, `36 s`, `4.2 min`, `3.1 h`."""
    return (
        f"{value:.1f} s"
        if value < 10
        else f"{value:.0f} s"
        if value < 120
        else f"{value / 60:.1f} min"
        if value < 7200
        else f"{value / 3600:.1f} h"
    )
