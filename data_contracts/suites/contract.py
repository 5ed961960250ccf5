"""A contract is one Great Expectations expectation with a name, a plain reason and a level.

Expectations see only numbers: `derive` in each suite turns texts and token ids into counts first. So no text of a model ever
reaches Data Docs, whose pages print values unescaped, and every contract reads "this count lies between these bounds".
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from great_expectations.expectations import Expectation

# reasons that several suites give
TOO_LONG = "Over-long rows are set aside and counted, never cut silently."
TWICE = "Two rows with one id cannot be told apart later."
FORGED = "A control token inside an answer would begin or end a turn once the answer stands in a conversation."

Level = Literal["row", "dataset", "warning"]


@dataclass(frozen=True)
class Limits:
    """What the contracts must know about the tokenizer, the context and the policy."""

    max_tokens: int  # prompt and answer together
    eos_token_id: int
    bos_token_id: int | None  # None: the tokenizer has none, or uses its end-of-sequence token for it
    bos_per_prompt: int  # how often the chat template itself writes it: 0 or 1
    control_tokens: tuple[str, ...]
    control_ids: tuple[int, ...]
    policy: str | None = None  # hash of the checkpoint that must have written the answers; None: not checked


def per_row(name: str, why: str, column: str, low: float | None = None, high: float | None = None) -> "Expectation":
    """Every row's `column` lies in [low, high]; a row that does not goes to quarantine."""
    from great_expectations.expectations import ExpectColumnValuesToBeBetween

    return ExpectColumnValuesToBeBetween(
        column=column, min_value=low, max_value=high, severity="critical", **_named(name, why, "row")
    )


def mean_within(name: str, why: str, column: str, low: float, high: float) -> "Expectation":
    """The mean of `column` over the clean rows lies in [low, high]; if not, the run goes on with a warning."""
    from great_expectations.expectations import ExpectColumnMeanToBeBetween

    return ExpectColumnMeanToBeBetween(
        column=column, min_value=low, max_value=high, severity="warning", **_named(name, why, "warning")
    )


def rows_at_least(name: str, why: str, low: int) -> "Expectation":
    """At least `low` clean rows are left; if not, the dataset fails."""
    from great_expectations.expectations import ExpectTableRowCountToBeBetween

    return ExpectTableRowCountToBeBetween(min_value=low, severity="critical", **_named(name, why, "dataset"))


def _named(name: str, why: str, level: Level) -> dict[str, object]:
    return {"meta": {"contract": name, "why": why, "level": level}, "description": f"{name}: {why}"}
