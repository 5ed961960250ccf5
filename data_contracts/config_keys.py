"""Which keys a group of the configuration takes: what to tell somebody who misspelt one."""

import difflib
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

Models = list[type[BaseModel]]


def models_at(roots: Sequence[type[BaseModel]], path: Sequence[tuple[str, bool]]) -> Models:
    """The models that may stand where `path` leads from `roots`: of pydantic's loc the parts, and whether each names a member of
    a union."""
    found = list(roots)
    for part, is_tag in path:
        below = [] if is_tag else [m for one in found for m in _models(_fields(one).get(part))]
        found = below or [one for one in found if part.isdigit() or part in _tag(one).values()]
    return found


def keys_of(models: Models) -> list[str]:
    return list(dict.fromkeys(name for model in models for name in _fields(model)))


def tag_of(models: Models) -> str | None:
    """The key by which the members of a union are told apart, if they are several."""
    tags = {name for model in models for name in _tag(model)}
    return tags.pop() if len(models) > 1 and len(tags) == 1 else None


def meant(given: str, group: str, known: list[str]) -> str:
    """What a key that is unknown may have been meant as."""
    if near := difflib.get_close_matches(given, known, n=1):
        return f"perhaps {near[0]}"
    return f"{group} takes {', '.join(known)}" if known else "remove it or correct its spelling"


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    model.model_rebuild()  # some annotations name a class further down
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _tag(model: type[BaseModel]) -> dict[str, str]:
    """The fields that can have one value only."""
    single = {name: get_args(kind) for name, kind in _fields(model).items() if get_origin(kind) is Literal}
    return {name: values[0] for name, values in single.items() if name in ("flow", "kind", "name") and len(values) == 1}


def _models(annotation: Any) -> Models:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]
