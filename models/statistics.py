"""Means with honest intervals. Benchmarks repeat questions, so the bootstrap draws distinct questions, never rows.

MixEval-Hard 2024-06-01 has 1,000 rows and 446 distinct questions: an interval that took the rows for independent would be
a third too narrow.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data_contracts.errors import PlumblineError

_CELLS = 4_000_000  # draws held in memory at once: 32 MB
Rows = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Interval:
    mean: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def mean_interval(
    values: npt.ArrayLike,
    clusters: Sequence[str],
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean of `values` [n] with its two-sided percentile interval from a cluster bootstrap over `clusters` [n].

    Each resample draws as many clusters as there are, with replacement, and takes the mean over all their rows, so larger
    clusters keep their weight (Cameron, Gelbach and Miller 2008, section 3; percentile interval of Efron 1979).
    The same arguments give the same interval.

    Raises PlumblineError if there are no values, or if a value is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        raise PlumblineError("a mean needs at least one score: the answers are empty")
    if not np.isfinite(values).all():
        raise PlumblineError(
            f"{int((~np.isfinite(values)).sum())} of {len(values)} scores are not finite numbers: score the answers again"
        )
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    sums, counts = np.bincount(index, weights=values), np.bincount(index).astype(np.float64)
    rng, n, means = np.random.default_rng(seed), len(sums), []
    for begin in range(0, resamples, step := max(1, _CELLS // n)):
        drawn = rng.integers(0, n, size=(min(step, resamples - begin), n))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    tail = (1 - confidence) / 2
    drawn_means = np.concatenate(means)
    return Interval(float(values.mean()), float(np.quantile(drawn_means, tail)), float(np.quantile(drawn_means, 1 - tail)))


def paired_gain(new: Rows, old: Rows, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """Mean of new minus old score over the same questions, with its clustered interval. Rows are those of an answers dataset.

    The difference is taken question by question, so what makes a question hard for both models cancels out.

    Raises PlumblineError if the two do not answer the same questions.
    """
    before = {row["question_id"]: row for row in old}
    same = len(new) == len(old) == len(before) and all(
        row["question"] == before.get(row["question_id"], {}).get("question") for row in new
    )
    if not same:
        raise PlumblineError(
            f"the two models did not answer the same questions ({len(new)} and {len(old)} rows): "
            "evaluate both on the same benchmark"
        )
    gains = [row["score"] - before[row["question_id"]]["score"] for row in new]
    return mean_interval(gains, [row["question"] for row in new], confidence, resamples, seed)
