"""Which keys of a configuration are paths, and what they are relative to."""

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from data_contracts.errors import PlumblineError

_KEYS = (
    *("policy", "teacher.model", "prompts.file", "evaluate.benchmark", "evaluate.shots", "evaluate.harness.folder", "pairs.file"),
    *("judge.rubric", "judge.model", "align.second_reference", "validate.contamination.sets"),
    *("pairs.second_view.rubric", "pairs.second_view.model", "teacher.journal"),
)
_SOURCES = ("method.stronger", "method.weaker", "method.sources", "win_rate.against")  # each may name a checkpoint or a file
_NAME, _PATH = 255, 3000  # bytes in a file's name on all common file systems, and in a path, with room for what it is relative to
_REMOTE = ("openai", "batch")  # teachers whose model is a server's name for it


def resolve_paths(tree: dict[str, Any], beside: Path, told: Collection[str], where: Path) -> None:
    """Make every path in `tree` absolute: those that one of the keys `told` gave are relative to `where`, others to `beside`.

    A path that does not exist (a hub id such as `org/name`) stays as it is, but for the journal, which need not be there yet.

    Raises PlumblineError for a text that cannot be a path.
    """
    for key, group, name in _places(tree):
        base = where if any(f"{key}.".startswith(f"{given}.") for given in told) else beside
        value = group[name]
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and not _may_be_path(text, is_file=key == "teacher.journal"):
                raise PlumblineError(f"{key} is {text[:60]!r}…, and no file can have such a name: correct it")
        if isinstance(value, str):
            group[name] = _absolute(value, base, key == "teacher.journal")
        elif isinstance(value, list):
            group[name] = [_absolute(path, base) if isinstance(path, str) else path for path in value]


def _places(tree: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(key, the group it is in, its name there) of everything that may be a path."""
    for key in _KEYS:
        above, _, name = key.rpartition(".")
        group = _look_up(tree, above)
        if isinstance(group, dict) and name in group and not (key == "teacher.model" and group.get("kind") in _REMOTE):
            yield key, group, name
    for key in _SOURCES:
        found = _look_up(tree, key)
        sources = enumerate(found) if isinstance(found, list) else [("", found)]
        for place, source in sources:
            for name in ("model", "file"):
                if isinstance(source, dict) and name in source:
                    yield f"{key}.{place}.{name}" if place != "" else f"{key}.{name}", source, name


def _look_up(tree: Any, key: str) -> Any:
    for name in key.split(".") if key else ():
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def _may_be_path(text: str, is_file: bool) -> bool:
    """What is not surely meant to be a file may be longer than any path: others say what they took it for."""
    if re.search("[\0\ud800-\udfff]", text):
        return False
    return not is_file or (len(text.encode()) <= _PATH and all(len(name.encode()) <= _NAME for name in text.split("/")))


def _absolute(reference: str, base: Path, always: bool = False) -> str:
    path = base / os.path.expanduser(reference)  # an absolute one stays what it is, and so does the home of a user who is none
    return str(path.resolve()) if always or os.path.exists(path) else reference  # Path.exists raises for a text of 300 letters
