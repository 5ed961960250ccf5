"""A rubric: what answers are judged by, written by hand or derived from labelled pairs (`plumbline rubric derive`)."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveFloat, ValidationError

from data_contracts.config_base import Name, Share, Strict
from data_contracts.errors import PlumblineError, in_short
from data_contracts.parse_yaml import dump_yaml, parse_yaml


class Evidence(Strict):
    """How well one criterion alone predicted labels that it was not made from: its accuracy with the interval it was kept by."""

    accuracy: Share
    low: Share
    high: Share
    decided: Annotated[int, Field(ge=0)]  # pairs on which it preferred one answer in both orders
    pairs: Annotated[int, Field(ge=1)]


class Criterion(Strict):
    text: Annotated[str, Field(min_length=1, max_length=2000)]
    weight: PositiveFloat = 1.0
    evidence: Evidence | None = None


class Rubric(Strict):
    name: Name
    criteria: Annotated[list[Criterion], Field(min_length=1, max_length=99)]

    def as_text(self) -> str:
        return "\n".join(f"{i}. {' '.join(c.text.split())}" for i, c in enumerate(self.criteria, 1))


def load_rubric(path: Path) -> Rubric:
    """Raises PlumblineError if the file is no rubric."""
    if not os.path.isfile(path):
        raise PlumblineError(f"there is no rubric {str(path)[:200]}: name a YAML file with a name and criteria")
    try:
        return Rubric.model_validate(parse_yaml(path.read_text(encoding="utf-8"), f"the rubric {path}"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise PlumblineError(f"the rubric {path}: {where}: {first['msg']}") from None
    except UnicodeDecodeError as error:
        raise PlumblineError(f"the rubric {path} is not UTF-8 text: {in_short(error)}") from None


def dump_rubric(rubric: Rubric) -> str:
    return dump_yaml(rubric.model_dump(mode="json", exclude_none=True), width=120)
