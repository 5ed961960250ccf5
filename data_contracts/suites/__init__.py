"""What a row must be like before anything is trained on it: one module per kind of dataset.

Each has `ID` (the id column), `derive(frame, limits)` (texts and token ids turned into plain numbers) and `suite(limits)` (named
contracts on those numbers). `pairs` also has `warnings()` and `metrics(checks)` for the clean rows as a whole.

To add a contract: derive a number in the module, add one `per_row(name, why, column, low, high)` to its suite, and one row that
breaks it, and only it, to `tests/data_contracts/test_suites_<kind>.py`; then raise VERSION.
"""

import math
import os
from types import ModuleType
from typing import TYPE_CHECKING

from data_contracts.suites import lists, pairs, revisions, samples
from data_contracts.suites.contract import rows_at_least

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # before anything here imports great_expectations

VERSION = 1  # part of every gate's dataset key: raise it when a contract lets something else through

SUITES: dict[str, ModuleType] = {"samples": samples, "revisions": revisions, "pairs": pairs, "lists": lists}


def whole_suite(kind: str, rows: int, min_rows: int, max_quarantined: float, any_clean: bool) -> "ExpectationSuite":
    """Contracts on the clean rows together, of a dataset that had `rows` before; without a clean row nothing has a mean."""
    from great_expectations import ExpectationSuite

    least = math.ceil((1 - max_quarantined) * rows - 1e-9)
    contracts = [
        rows_at_least("enough_rows", "Fewer clean rows than validate.min_rows are too few to go on with.", min_rows),
        rows_at_least("quarantine_small", "Losing more than validate.max_quarantined points to a fault upstream.", least),
    ]
    warnings = SUITES[kind].warnings() if any_clean and hasattr(SUITES[kind], "warnings") else []
    return ExpectationSuite(name=f"{kind}-whole", expectations=contracts + warnings)
