"""YAML as people write it: every file and every `--set` is read here, and what is to be read again is written here, so that the
same text means the same in every process."""

import re
from typing import Any

import yaml

from data_contracts.errors import PlumblineError, in_short

_LARGEST = 100_000  # values in a file, those that aliases repeat counted each time


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, which plain YAML lets pass with the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: list[Any] = []
        for key in (self.construct_object(k, deep=deep) for k, _ in node.value):
            if key in seen:
                line = node.value[len(seen)][0].start_mark.line + 1
                raise yaml.YAMLError(f"line {line}: the key {key!r} is given twice")
            seen.append(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Puts in quotes what `_Loader` would take for something else than text."""


# YAML 1.1 reads 1e-4 as text; everybody who writes a learning rate means the number.
for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))
# A date is its text: no key asks for one, and many a name looks like one.
# What PyYAML itself makes of it depends on whether vLLM has loaded lm-format-enforcer, which changes that for the whole process.
_Loader.yaml_constructors = {**_Loader.yaml_constructors, "tag:yaml.org,2002:timestamp": _Loader.construct_yaml_str}


def parse_yaml(text: str, where: str) -> Any:
    """What the YAML `text` says. Raises PlumblineError, which calls the text `where`, if it is none or its aliases are a trap."""
    try:
        tree = yaml.load(text, _Loader)
        if _size(tree, {}) > _LARGEST:
            raise ValueError("its aliases repeat values too often")
        return tree
    except yaml.YAMLError as error:
        raise PlumblineError(f"{where} is not valid YAML: {_fault(error)}") from None
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits
        told = "it nests too deeply" if isinstance(error, RecursionError) else in_short(error)
        raise PlumblineError(f"{where} is not valid YAML: {told}") from None


def dump_yaml(tree: Any, width: int = 80) -> str:
    """What `parse_yaml` reads as `tree` again, keys in their order; `width` in columns."""
    text: str = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width)
    return text


def _size(value: Any, sizes: dict[int, int]) -> int:
    """How many values there are below and with this one, again for every alias: ten lines of aliases can stand for billions."""
    if id(value) not in sizes:
        sizes[id(value)] = _LARGEST  # for whatever is inside itself
        below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        sizes[id(value)] = 1 + sum(_size(part, sizes) for part in below)
    return sizes[id(value)]


def _fault(error: yaml.YAMLError) -> str:
    """Where it is and what, without the excerpt and the position in a "<unicode string>" that YAML's own words hold."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return in_short(error)
    words = [str(error.context)] if str(error.problem).startswith("but ") else []
    problem = "a tab, and only spaces may indent" if r"'\t'" in str(error.problem) else " ".join([*words, str(error.problem)])
    return f"line {error.problem_mark.line + 1}: {in_short(problem)}"
