"""What the data must be like, and what happens to what is not."""

from typing import Literal

from pydantic import Field, PositiveInt

from data_contracts.config_base import Share, Strict

Severity = Literal["fail", "quarantine", "warn", "off"]


class ContractConfig(Strict):
    """What differs from the contract's own severity and bounds; `plumbline validate --contracts` lists those."""

    severity: Severity | None = None
    low: float | None = None
    high: float | None = None


class ValidateConfig(Strict):
    """Rows that break a contract go to quarantine; more than `max_quarantined`, or too few rows left, stops the round."""

    max_tokens: PositiveInt = 4096
    max_quarantined: Share = 0.5
    min_rows: PositiveInt = 32
    contracts: dict[str, ContractConfig] = Field(default_factory=dict)
