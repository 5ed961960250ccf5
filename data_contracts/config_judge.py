"""Judges."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from data_contracts.config_base import Strict


class JudgeConfig(Strict):
    """`generation` asks both ways round, disagreement is a tie; `likelihood` compares a local teacher's log-probabilities."""

    kind: Literal["generation", "likelihood"] = "generation"
    template: str = "pairwise-1"
    temperature: Annotated[float, Field(ge=0)] = 0.0
    max_tokens: PositiveInt = 1024
