"""What a row must be like before anything is trained on it: one module per kind of dataset.

Each has `ID` (the id column), `derive(frame, limits)` (texts and token ids turned into plain numbers, one row each) and
`contracts(limits)` (bounds on those numbers, row by row or in their mean over the clean rows). `measure(frame)`, where there is
one, gives figures of the clean rows together; a mean contract may bound those too.
"""

import math
import os
from types import ModuleType

from data_contracts.config_validate import ValidateConfig
from data_contracts.overlap import EvaluationTexts
from data_contracts.suites import lists, pairs, prompts, revisions, samples, verdicts
from data_contracts.suites.contract import Codec, Contract, Limits, check_names, configured, rows_at_least

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # before anything here imports great_expectations

VERSION = 4  # part of every gate's dataset key: raise it when a contract lets something else through

SUITES: dict[str, ModuleType] = {"prompts": prompts, "samples": samples, "revisions": revisions}
SUITES |= {"verdicts": verdicts, "pairs": pairs, "lists": lists}

_CODEC = Codec(lambda _: [], lambda _: [], lambda _: [])
_ANY = Limits(1, (), None, 0, (), (), engine_tokens=1, codec=_CODEC, evaluation=EvaluationTexts([], 1, 1.0))


def catalogue() -> dict[str, list[Contract]]:
    """Every suite's contracts with their own severities and bounds."""
    return {kind: suite.contracts(_ANY) for kind, suite in SUITES.items()}


def check_settings(config: ValidateConfig) -> None:
    """Raises PlumblineError for a setting under validate.contracts that no run could follow."""
    every = [contract for contracts in catalogue().values() for contract in contracts]
    sizes = _sizes(1, config)
    check_names([contract.name for contract in (*every, *sizes)], config.contracts)
    configured([*every, *sizes], config.contracts)


def row_contracts(kind: str, limits: Limits, config: ValidateConfig) -> list[Contract]:
    return [c for c in configured(SUITES[kind].contracts(limits), config.contracts) if c.scope == "row"]


def whole_contracts(kind: str, limits: Limits, config: ValidateConfig, rows: int, measured: set[str]) -> list[Contract]:
    """Contracts on the clean rows together, of a dataset that had `rows` before. What could not be `measured` is left out."""
    means = [c for c in configured(SUITES[kind].contracts(limits), config.contracts) if c.scope == "mean"]
    return configured(_sizes(rows, config), config.contracts) + [c for c in means if c.column in measured]


def _sizes(rows: int, config: ValidateConfig) -> list[Contract]:
    least = math.ceil((1 - config.max_quarantined) * rows - 1e-9)
    return [
        rows_at_least("enough_rows", "Fewer clean rows than validate.min_rows are too few to go on with.", config.min_rows),
        rows_at_least("quarantine_small", "Losing more than validate.max_quarantined points to a fault upstream.", least),
    ]
