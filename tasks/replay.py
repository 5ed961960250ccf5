"""Replay: a share of earlier rounds' clean pairs beside the new ones, against forgetting (DNO, arXiv 2404.03715)."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_contracts.store import Dataset, Rows, build
from tasks.pair.rows import is_on_policy


def replay(
    folder: Path, pairs: Dataset, earlier: Mapping[int, Dataset], shares: Sequence[float], policy: str, seed: int
) -> Dataset:
    """`pairs`, then of each earlier round's own clean pairs the share that is meant for its distance, drawn by lot.

    `earlier` maps a round's number to its clean pairs, the latest first; `shares` are for one round back, two back, … What those
    rounds had replayed themselves is not replayed again. Whether a pair is on-policy is told anew, for `policy` of today.
    Facts: `new`, and `round_<k>` replayed from each round.
    """

    def make(_work: Path) -> tuple[Rows, dict[str, Any]]:
        rows = pairs.records()
        facts = {"new": len(rows)}
        for (number, dataset), share in zip(earlier.items(), shares, strict=False):
            own = [row for row in dataset.records() if row["round"] == number]
            draw = random.Random(f"{seed}/{number}")
            drawn = sorted(draw.sample(range(len(own)), round(share * len(own))))
            rows += [own[i] | {"on_policy": is_on_policy(own[i], policy)} for i in drawn]
            facts[f"round_{number}"] = len(drawn)
        return rows, facts

    slice_ = {"shares": list(shares), "seed": seed}
    return build(folder, "pairs", slice_, make, [pairs, *earlier.values()], {"policy": policy})
