"""Verdicts: one row per comparison. A judge that contradicts itself sets no row aside (such rows are ties), but it is told."""

import pandas as pd

from data_contracts.suites.columns import copies
from data_contracts.suites.contract import TWICE, Contract, Limits, mean_within, per_row

ID = "prompt_id"


def derive(frame: pd.DataFrame, _limits: Limits) -> pd.DataFrame:
    """The numbers that the contracts below look at, one row per comparison."""
    forward, backward = frame["forward"], frame["backward"]
    both = forward.notna() & backward.notna()
    keys = list(zip(frame["prompt_id"], frame["first_id"], frame["second_id"], strict=True))
    return pd.DataFrame(
        {
            "rows_with_this_id": copies(keys),
            "outcome_unknown": (~frame["outcome"].isin(["first", "second", "tie"])).astype(int),
            "orders_agree": (both & (forward == backward) & (forward != "unparsed")).astype(int),
            "unparsed_replies": ((forward == "unparsed").astype(int) + (backward == "unparsed").astype(int)) / 2,
            "shown_first_preferred": ((forward == "first").astype(int) + (backward == "second").astype(int)) / 2,
            "tied": (frame["outcome"] == "tie").astype(int),
        },
        index=frame.index,
    )


def contracts(_limits: Limits) -> list[Contract]:
    return [
        per_row("verdict_unique", TWICE, "rows_with_this_id", high=1),
        per_row("verdict_has_outcome", "A comparison ends with first, second or tie.", "outcome_unknown", high=0),
        mean_within(
            "judge_consistent",
            "A judge whose two orders seldom agree mostly measures the order.",
            "orders_agree",
            low=0.5,
        ),
        mean_within(
            "judge_has_no_position",
            "A judge that prefers what it is shown first (or last) far more often than half the time has a position bias.",
            "shown_first_preferred",
            low=0.25,
            high=0.75,
        ),
        mean_within("judge_readable", "A reply that cannot be read was paid for in vain.", "unparsed_replies", high=0.2),
        mean_within("judge_decides", "Where nearly every comparison is a tie, nearly every prompt is lost.", "tied", high=0.9),
    ]
