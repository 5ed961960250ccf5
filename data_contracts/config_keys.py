"""Which keys a group of the configuration takes: what to tell somebody who misspelt one."""

import difflib
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from data_contracts.config_elsewhere import ELSEWHERE

_MANY, _SURELY = 4, 0.8  # names in one sentence; how alike a misspelt key and the one meant are
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


def meant(roots: Sequence[type[BaseModel]], path: Sequence[tuple[str, bool]], group: str) -> str:
    """What the unknown key at `path` may have been meant as: a key of a sibling in the same union, one like it, what other
    trainers call so, or one of that name in another group. `group` is what the sentence calls the place it stands in."""
    given, known = path[-1][0], keys_of(models_at(roots, path[:-1]))
    if others := _siblings_with(given, roots, path):
        return f"{path[-2][0]} takes none, {', '.join(others[:_MANY])}{' and others' if len(others) > _MANY else ''} do"
    if near := difflib.get_close_matches(given, known, n=1, cutoff=_SURELY):
        return f"perhaps {near[0]}"
    if here := ELSEWHERE.get(given):
        own = [key for key in known if given.startswith(f"{key}_")]  # teacher.model_name is no policy
        return f"perhaps {own[0]}" if own and not here.startswith(f"{group}.") else f"here it is {here}"
    whole = models_at(roots, path[:1]) if path[0][1] else list(roots)  # the flow that the file names
    if places := _places(whole, given):
        return f"perhaps {' or '.join(places[:_MANY])}"
    if near := difflib.get_close_matches(given, known, n=1):
        return f"perhaps {near[0]}"
    return f"{group} takes {', '.join(known)}" if known else "remove it or correct its spelling"


def _siblings_with(key: str, roots: Sequence[type[BaseModel]], path: Sequence[tuple[str, bool]]) -> list[str]:
    """The names by which those members of the union at the end of `path` are chosen that have `key`."""
    members = models_at(roots, path[:-2])
    if not any(path[-2:-1] and path[-2][0] in _tag(model).values() for model in members):
        return []
    return [tag for model in members if key in _fields(model) for tag in _tag(model).values()]


def _places(roots: Models, key: str, depth: int = 3) -> list[str]:
    """The dotted keys below `roots` that end with `key`, those that lie highest first."""
    found = dict[str, None]()
    level = {"": roots}
    for _ in range(depth):
        below = dict[str, Models]()
        for above, models in level.items():
            for name, annotation in ((name, kind) for model in models for name, kind in _fields(model).items()):
                if name == key:
                    found[above + name] = None
                below.setdefault(f"{above}{name}.", []).extend(_models(annotation))
        level = below
    return list(found)


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
