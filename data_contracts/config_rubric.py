"""How a rubric is derived from labelled pairs."""

from typing import Annotated

from pydantic import Field, PositiveInt

from data_contracts.config_base import Name, Strict


class DeriveConfig(Strict):
    """Half of the pairs' prompts are for proposing principles, the other half for voting on them."""

    name: Name = "derived-1"
    per_pair: PositiveInt = 2  # principles that one pair may suggest
    candidates: PositiveInt = 12  # clusters of principles, each voted on by its most central one
    keep: PositiveInt = 6  # criteria of the rubric, at most
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95  # for all candidates together, not for each
