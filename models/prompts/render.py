"""Fill a prompt template. Values are data: they are never read as template code, and cannot forge the prompt's structure."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.errors import PlumblineError
from models.chat import Message
from models.prompts.identifiers import disarm

if TYPE_CHECKING:
    from jinja2 import Template

_FOLDER = Path(__file__).parent


def templates() -> list[str]:
    """Names a config may use."""
    return sorted(path.stem for path in _FOLDER.glob("*.jinja"))


def template_source(template: str) -> str:
    """The text of a template as it lies on disk."""
    return (_FOLDER / f"{template}.jinja").read_text(encoding="utf-8")


def slots(template: str) -> set[str]:
    """The names of the values that `template` is filled from. Raises PlumblineError if there is no such template."""
    if template not in templates():
        raise PlumblineError(f"there is no prompt template {template!r}: use one of {', '.join(templates())}")
    return _load(template)[1]


def render(template: str, **values: str | Sequence[str]) -> str:
    """The prompt `template` filled with `values` (texts or lists of texts) as plain text, identifiers in them disarmed.

    Raises PlumblineError if there is no such template, or if it does not use exactly these values.
    """
    needs = slots(template)
    if needs != set(values):
        raise PlumblineError(
            f"the prompt template {template!r} is filled from {_names(needs)}, but is used here with {_names(set(values))}: "
            "name a template made for this stage, and give it what it needs"
        )
    return _load(template)[0].render(
        {name: disarm(v) if isinstance(v, str) else [disarm(item) for item in v] for name, v in values.items()}
    )


def render_task(messages: Sequence[Message]) -> str:
    """A conversation as the text of a task: a lone user message as it stands, several turns with their speakers' names.

    Later lines of a turn are indented, so that a line which opens with a name at the margin is a turn and nothing else.
    """
    if len(messages) == 1 and messages[0]["role"] == "user":
        return messages[0]["content"]
    return "\n".join(f"{m['role'].capitalize()}: " + "\n  ".join(m["content"].splitlines()) for m in messages)


@cache
def _load(template: str) -> tuple["Template", set[str]]:
    from jinja2 import Environment, StrictUndefined, meta

    environment = Environment(undefined=StrictUndefined, autoescape=False)  # plain text, not markup
    source = template_source(template)
    return environment.from_string(source), meta.find_undeclared_variables(environment.parse(source))


def _names(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
