"""What the pairs of a round are made from, up to the judge: prompts, samples, revisions."""

from typing import Annotated

from pydantic import Field, PositiveInt

from data_contracts.config_base import Strict


class PromptsConfig(Strict):
    """JSON lines with `prompt` (text, or a list of role/content messages) and optionally `id`."""

    file: str
    per_round: PositiveInt


class SampleConfig(Strict):
    n: PositiveInt = 1
    temperature: Annotated[float, Field(ge=0)] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: PositiveInt = 1024


class ReviseConfig(Strict):
    """`rubric` is the text that the template rubric-1 is filled with, and no other."""

    template: str = "minimal-1"
    rubric: str | None = None
    temperature: Annotated[float, Field(ge=0)] = 0.7
    max_tokens: PositiveInt = 4096
