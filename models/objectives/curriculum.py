"""Curry-DPO (arXiv 2403.07230): which pairs to train on when, easy before hard."""

import math
from collections.abc import Sequence

from data_contracts.errors import PlumblineError


def stages(gaps: Sequence[float], n_stages: int) -> list[list[int]]:
    """Positions of the pairs in each stage, easy first; every pair in exactly one stage, and sizes that differ by at most one.

    A gap is how clear a pair is: the judge's score of chosen minus rejected, or log ref(chosen) - log ref(rejected), which is
    negative where the reference model ranks the pair wrongly. Large is easy; equal gaps keep their order. Train one round a
    stage, each with the previous stage's model as its reference.

    Raises PlumblineError for fewer pairs than stages and for a gap that is NaN.
    """
    if n_stages < 1 or len(gaps) < n_stages:
        raise PlumblineError(
            f"a curriculum of {n_stages} stages needs at least that many pairs and one stage, and has {len(gaps)} pairs"
        )
    unknown = [i for i, gap in enumerate(gaps) if math.isnan(gap)]
    if unknown:
        raise PlumblineError(
            f"a curriculum needs the gap of every pair, and {len(unknown)} have none (the first is pair {unknown[0]}): "
            "score them, or use the reference model's log-probabilities as the gap"
        )
    easy_first = sorted(range(len(gaps)), key=lambda i: -gaps[i])
    size, larger = divmod(len(gaps), n_stages)
    ends = [size * (s + 1) + min(s + 1, larger) for s in range(n_stages)]
    return [easy_first[start:end] for start, end in zip((0, *ends), ends, strict=False)]
