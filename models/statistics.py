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
from data_contracts.store import Rows

_CELLS = 4_000_000  # draws held in memory at once: 32 MB


@dataclass(frozen=True)
class Interval:
    mean: float
    low: float
    high: float


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


def standard_error(values: npt.ArrayLike, clusters: Sequence[str]) -> float:
    """Standard error of the mean of `values` [n] whose rows hang together within `clusters` [n].

    The root of the clusters' summed squared residuals over n, with G / (G - 1) for G clusters (Liang and Zeger 1986): with each
    row a cluster of its own it is the textbook's s / sqrt(n). Not a number for fewer than two clusters.
    """
    values = np.asarray(values, dtype=np.float64)
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(index, weights=values - values.mean())
    count = len(sums)
    return float(np.sqrt((sums**2).sum() * count / (count - 1)) / len(values)) if count > 1 else float("nan")


@dataclass(frozen=True)
class Gain:
    """Mean of new minus old over all rows; `p` is the two-sided p-value of "no difference"."""

    mean: float
    low: float
    high: float
    p: float
    rows: int
    distinct: int


def paired_test(
    new: Rows, old: Rows, confidence: float = 0.95, resamples: int = 2000, seed: int = 0, beyond: float = 0.0
) -> Gain:
    """`paired_gain` with a p-value: how often a difference as large comes up when each question's sign is drawn by lot.

    Fisher's randomisation test for paired samples: if the two models are alike, each distinct question's summed difference is as
    likely to have the other sign. p = (1 + draws at least as large) / (1 + draws), with 10,000 draws. With `beyond` it is the
    difference from a gain of that size that is tested.

    Raises PlumblineError if the two do not answer the same questions.
    """
    interval = paired_gain(new, old, confidence, resamples, seed)
    before = {row["question_id"]: row["score"] for row in old}
    _, index = np.unique([row["question"] for row in new], return_inverse=True)
    sums = np.bincount(index, weights=[row["score"] - before[row["question_id"]] - beyond for row in new])
    rng, draws, extreme = np.random.default_rng(seed), 10_000, 0
    for begin in range(0, draws, step := max(1, _CELLS // len(sums))):
        signs = rng.integers(0, 2, size=(min(step, draws - begin), len(sums)), dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9).sum())
    return Gain(**asdict(interval), p=(1 + extreme) / (1 + draws), rows=len(new), distinct=len(sums))


def holm(ps: Sequence[float]) -> list[float]:
    """p-values to be read beside each other: the chance of any false alarm among them stays below the level (Holm 1979).

    The smallest of n is multiplied by n, the next by n - 1, and so on; none becomes smaller than one before it, or larger than 1.
    """
    order, least, adjusted = sorted(range(len(ps)), key=ps.__getitem__), 0.0, [0.0] * len(ps)
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = least
    return adjusted


def selection_bias(scores: Sequence[Rows], resamples: int = 2000, seed: int = 0) -> float:
    """By how much the best of several models' scores is expected to overstate that model, all of them on the same questions.

    Each resample draws distinct questions, picks the model that is best on them, and compares its score there with its score on
    all questions; the mean difference is the bias of "take the maximum" (bootstrap bias estimate, Efron and Tibshirani 1993,
    chapter 10). Zero for a single model.

    Raises PlumblineError if the models do not answer the same questions.
    """
    first = scores[0]
    for other in scores[1:]:
        _same_questions(first, other)
    _, index = np.unique([row["question"] for row in first], return_inverse=True)
    order = [row["question_id"] for row in first]
    by_id = [{row["question_id"]: row["score"] for row in rows} for rows in scores]
    sums = np.stack([np.bincount(index, weights=[found[id_] for id_ in order]) for found in by_id], axis=1)
    counts = np.bincount(index).astype(np.float64)
    overall = sums.sum(axis=0) / counts.sum()
    rng, n, gained = np.random.default_rng(seed), len(counts), 0.0
    for _ in range(resamples):
        weights = np.bincount(rng.integers(0, n, n), minlength=n)
        means = (weights @ sums) / (weights @ counts)
        best = int(means.argmax())
        gained += float(means[best] - overall[best])
    return gained / resamples


def paired_gain(new: Rows, old: Rows, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """Mean of new minus old score over the same questions, with its clustered interval. Rows are those of an answers dataset.

    The difference is taken question by question, so what makes a question hard for both models cancels out.

    Raises PlumblineError if the two do not answer the same questions.
    """
    before = _same_questions(new, old)
    gains = [row["score"] - before[row["question_id"]]["score"] for row in new]
    return mean_interval(gains, [row["question"] for row in new], confidence, resamples, seed)


def _same_questions(new: Rows, old: Rows) -> dict[str, dict[str, Any]]:
    """The old rows by question."""
    before = {row["question_id"]: row for row in old}
    same = len(new) == len(old) == len(before) and all(
        row["question"] == before.get(row["question_id"], {}).get("question") for row in new
    )
    if not same:
        raise PlumblineError(
            f"the two models did not answer the same questions ({len(new)} and {len(old)} rows): "
            "evaluate both on the same benchmark"
        )
    return before
