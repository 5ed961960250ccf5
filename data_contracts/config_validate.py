"""What the data must be like, and what happens to what is not."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveInt

from data_contracts.config_base import Share, Strict

Severity = Annotated[
    Literal["fail", "quarantine", "warn", "off"],
    BeforeValidator(lambda value: "off" if value is False else value),  # which is how YAML reads off
]


class ContractConfig(Strict):
    """What differs from the contract's own severity and bounds; `plumbline validate --contracts` lists those."""

    severity: Severity | None = None
    low: float | None = None
    high: float | None = None


class ContaminationConfig(Strict):
    """When a training prompt counts as one of an evaluation set: `ngram` equal words in a row, or so similar a wording.

    The run's own benchmark is always looked at; `sets` names further ones, folders in MixEval's format or files of prompts.
    """

    ngram: PositiveInt = 13
    similarity: Annotated[float, Field(gt=0.3, le=1)] = 0.8  # Jaccard, of word 3-grams
    sets: list[str] = Field(default_factory=list)


class ValidateConfig(Strict):
    """Rows that break a contract go to quarantine; more than `max_quarantined`, or too few rows left, stops the round."""

    max_tokens: PositiveInt = 4096
    max_quarantined: Share = 0.5
    min_rows: PositiveInt = 32
    contamination: ContaminationConfig = ContaminationConfig()
    contracts: dict[str, ContractConfig] = Field(default_factory=dict)
