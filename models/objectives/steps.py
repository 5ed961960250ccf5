"""How alike two answers' reasoning steps are, by their words."""

import math
import re
from collections import Counter
from collections.abc import Sequence


def step_similarity(steps: Sequence[str], best: Sequence[str]) -> list[float]:
    """Weight w_s = 1 + cosine of word counts, in 1..2, of each step against the best answer's step at the same place.

    Steps beyond the best answer's last are compared with that one. Tree preference optimisation (arXiv 2410.12854) takes the
    cosine of hidden states; words need no forward pass. Raises ValueError if the best answer has no steps.
    """
    if not best:
        raise ValueError("the best answer has no steps to compare with")
    return [1 + _cosine(_words(step), _words(best[min(place, len(best) - 1)])) for place, step in enumerate(steps)]


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.lower()))


def _cosine(one: Counter[str], other: Counter[str]) -> float:
    if one == other:
        return 1.0
    norm = math.sqrt(sum(n * n for n in one.values()) * sum(n * n for n in other.values()))
    return sum(n * other[word] for word, n in one.items()) / norm if norm else 0.0
