"""From a YAML file and `--set a.b=c` to a checked configuration, or one sentence that names the key."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from data_contracts.check_method import check_method
from data_contracts.config import HumanPairsConfig, RoundsConfig, RunConfig
from data_contracts.config_elsewhere import objectives_like
from data_contracts.config_judge import check_judge
from data_contracts.config_keys import keys_of, meant, models_at, tag_of
from data_contracts.config_paths import resolve_paths
from data_contracts.config_teacher import secret_fault
from data_contracts.errors import PlumblineError
from data_contracts.flatten import flatten
from data_contracts.parse_yaml import dump_yaml, parse_yaml

_MANY = 20  # names that a sentence can bear; only the objectives are more
_ADAPTER: TypeAdapter[RoundsConfig | HumanPairsConfig] = TypeAdapter(RunConfig)


def load_config(path: Path, sets: Sequence[str] = (), told_in: Path | None = None) -> RoundsConfig | HumanPairsConfig:
    """The configuration in `path` with the overrides applied and its paths made absolute.

    Paths in the file are relative to it, those in an override to `told_in`: the working directory if not given.

    Raises PlumblineError naming the key for anything that is unknown, missing, of the wrong type or impossible together.
    """
    tree = read_yaml(path)
    if "grid" in tree:
        raise PlumblineError(f"{path} describes a sweep, not a run: use plumbline sweep {path}")
    for assignment in sets:
        _assign(tree, assignment)
    resolve_paths(tree, path.parent, {assignment.partition("=")[0].strip() for assignment in sets}, told_in or Path.cwd())
    try:
        config = _ADAPTER.validate_python(tree)
    except ValidationError as error:
        raise PlumblineError(sentence(error, str(path))) from None
    _check_together(config, str(path))
    return config


def load_rounds(path: Path, needed: str, sets: Sequence[str] = ()) -> RoundsConfig:
    """The configuration of rounds in `path`, whose `needed` part (its judge, its teacher) is asked for.

    Raises PlumblineError as `load_config` does, and for another flow, which has none.
    """
    config = load_config(path, sets)
    if not isinstance(config, RoundsConfig):
        raise PlumblineError(f"{path} has no {needed}: give a configuration with flow: rounds")
    return config


def replaced(path: Path, sets: Sequence[str]) -> dict[str, Any]:
    """What the file in `path` says of every key that `sets` give another value or take away; None where it does not name it."""
    before, tree = flatten(read_yaml(path)), read_yaml(path)
    for assignment in sets:
        _assign(tree, assignment)
    after = flatten(tree)
    changed = {key for key in {*before, *after} if (key in before, before.get(key)) != (key in after, after.get(key))}
    return {key: before.get(key) for key in sorted(changed)}


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises PlumblineError if there is none."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise PlumblineError(f"config file {path} {what}: name a YAML file, for example configs/demo.yaml")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlumblineError(f"config file {path} cannot be read as UTF-8 text: {error}") from None
    tree = parse_yaml(text, str(path))
    if not isinstance(tree, dict):
        raise PlumblineError(f"{path} must hold keys and values: see configs/demo.yaml")
    return tree


def dump_config(config: RoundsConfig | HumanPairsConfig) -> str:
    return dump_yaml(config.model_dump(mode="json", by_alias=True))


def _assign(tree: dict[str, Any], assignment: str) -> None:
    key, equals, value = assignment.partition("=")
    if not equals or not key.strip():
        raise PlumblineError(f"--set {assignment!r} is not of the form key.subkey=value")
    *parents, last = key.strip().split(".")
    for name in parents:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise PlumblineError(f"--set {assignment!r}: {name!r} is a value, not a group of keys")
    tree[last] = parse_yaml(value, f"--set {assignment!r}")


_TAGGED = ("flow", "teacher", "method", "stronger", "weaker", "sources")  # after these pydantic names the member of a union, too


def sentence(
    error: ValidationError, where: str, union: str = "flow", roots: Sequence[type[BaseModel]] = (RoundsConfig, HumanPairsConfig)
) -> str:
    """The first thing that is wrong, as one sentence, unknown keys before those that are missing, which they may be meant as.

    `union`: the key that chooses among the whole's members, the `roots`, if one does.
    """
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    more = len(error.errors()) - 1
    path = _path(first["loc"], union)
    return f"{where}: {_fault(first, path, roots)}" + (f" (and {more} more)" if more else "")


def _path(loc: Sequence[str | int], union: str) -> list[tuple[str, bool]]:
    """The parts of pydantic's `loc`, and whether each names a member of a union and not a key."""
    path, owner = list[tuple[str, bool]](), union
    for part in map(str, loc):
        is_tag = owner in _TAGGED and not part.isdigit()
        path.append((part, is_tag))
        if not part.isdigit():
            owner = "" if is_tag else part
    return path


def _fault(error: Mapping[str, Any], path: Sequence[tuple[str, bool]], roots: Sequence[type[BaseModel]]) -> str:
    """What is wrong at `path`, by the type of pydantic's error."""
    names = [part for part, is_tag in path if not is_tag and "[" not in part]  # a union's members without names: list[any]
    if len(names) > 2 and names[-3:-2] == ["objective"]:
        del names[-2]
    key, kind, given = ".".join(names), error["type"], error["input"]
    if kind == "extra_forbidden":
        return f"unknown key {key}: {meant(roots, path, '.'.join(names[:-1]) or 'a configuration')}"
    if kind == "missing":
        return f"the key {key} is missing"
    if kind == "union_tag_not_found":
        return f"{key or 'the config'} needs the key {error['ctx']['discriminator']}" + (
            "" if key else " (rounds or human_pairs)"
        )
    if kind == "union_tag_invalid":
        tag, chosen = error["ctx"]["discriminator"].strip("'"), error["ctx"]["tag"]
        return f"{'.'.join([*names, tag])} is {chosen!r}, {_offered(chosen, error['ctx']['expected_tags'])}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"{key} is {given!r}, which must be a group of keys{_keys_at(roots, path)}"
    if kind == "string_pattern_mismatch" and names[-1] == "name":
        return f"{key} is {given!r}: use small letters, digits, - and _ (it names a folder)"
    return f"{key} is {given!r}: {error['msg'].removeprefix('Input ')}"


def _keys_at(roots: Sequence[type[BaseModel]], path: Sequence[tuple[str, bool]]) -> str:
    models = models_at(roots, path)
    if tag := tag_of(models):
        return f", one of them {tag}"
    return f": {', '.join(keys_of(models))}" if models else ""


def _offered(given: str, expected: str) -> str:
    names = expected.replace("'", "").split(", ")
    if len(names) <= _MANY:
        return f"must be one of {expected}"
    near = objectives_like(given, names)
    return f"must be one of {len(names)}{near and f', perhaps {near}'}: plumbline objectives lists them"


def _check_together(config: RoundsConfig | HumanPairsConfig, where: str) -> None:
    for key, value in _files(config):
        if not os.path.exists(value):
            raise PlumblineError(
                f"{where}: {key} is {value!r}, which does not exist: correct it (in a config file it is relative to that file, "
                "on the command line to the working directory)"
            )
        if not os.path.isfile(value) and not os.path.isdir(value):
            raise PlumblineError(f"{where}: {key} is {value!r}, a pipe or a device, which may never end: name a file")
    for key, value in _checkpoints(config):
        if not os.path.isdir(value) and not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", value):
            raise PlumblineError(f"{where}: {key} is {value!r}, neither a folder with a checkpoint nor a hub id like org/name")
    objective = config.align.objective.name
    if objective == "kto" and config.align.batch_size < 2:
        raise PlumblineError(f"{where}: align.objective {objective} needs align.batch_size of at least 2")
    if not isinstance(config, RoundsConfig):
        return
    if config.teacher.kind == "openai" and (fault := secret_fault(config.teacher)):
        raise PlumblineError(f"{where}: teacher.{fault}")
    if config.teacher.kind == "openai" and config.teacher.budget and config.teacher.budget.money and not config.teacher.price:
        raise PlumblineError(f"{where}: teacher.budget.money needs teacher.price: {{input: …, output: …}}, per million tokens")
    writes_only = config.teacher.kind != "local"
    try:
        check_judge(config.judge, "judge", writes_only)
        if config.pairs.second_view:
            check_judge(config.pairs.second_view, "pairs.second_view", writes_only)
        check_method(config)
    except PlumblineError as error:
        raise PlumblineError(f"{where}: {error}") from None
    if config.sample.n > 1 and config.sample.temperature == 0:
        raise PlumblineError(
            f"{where}: sample.temperature 0 gives {config.sample.n} equal answers: raise it or set sample.n to 1"
        )


def _files(config: RoundsConfig | HumanPairsConfig) -> list[tuple[str, str]]:
    if isinstance(config, HumanPairsConfig):
        return [("pairs.file", config.pairs.file)]
    recorded = [("method: file", w.file) for w in config.method.writers if w.kind == "file"]
    measured = [("evaluate.benchmark", config.evaluate.benchmark), ("evaluate.shots", config.evaluate.shots)]
    named = [(key, value) for key, value in measured if value is not None and not value.startswith("hub:")]
    return [("prompts.file", config.prompts.file), *named, *recorded]


def _checkpoints(config: RoundsConfig | HumanPairsConfig) -> list[tuple[str, str]]:
    found = [("policy", config.policy)]
    second = config.align.second_reference
    if second not in (None, "initial", "previous"):
        found.append(("align.second_reference", str(second)))
    if isinstance(config, RoundsConfig) and config.teacher.kind in ("local", "vllm"):
        found.append(("teacher.model", config.teacher.model))
    if isinstance(config, RoundsConfig):
        found += [("method: model", w.model) for w in config.method.writers if w.kind == "checkpoint"]
    return found
