"""From a matrix of pairwise judgements to scores and to one order. Plain Python: K is the number of answers to one prompt.

`wins[i][j]` is the probability that answer i beats answer j, NaN where nobody compared them; the diagonal is ignored.
"""

import math
from collections.abc import Sequence

from data_contracts.errors import PlumblineError

Matrix = Sequence[Sequence[float]]
EXACT = 8  # answers up to which the best order is found exactly: 2^8 sets of answers


def balanced(wins: Matrix) -> list[list[float]]:
    """`wins` with P(i beats j) + P(j beats i) = 1 and 0.5 on the diagonal.

    Two judgements of one pair are averaged, one stands for both, and none is 0.5. Raises PlumblineError for a matrix that is not
    square or has an entry outside 0..1.
    """
    size = len(wins)
    if any(len(row) != size for row in wins):
        raise PlumblineError(
            f"a win matrix must be square, and this one has {size} rows of {sorted({len(r) for r in wins})} entries"
        )
    if any(not (math.isnan(p) or 0 <= p <= 1) for i, row in enumerate(wins) for j, p in enumerate(row) if i != j):
        raise PlumblineError("a win matrix holds probabilities from 0 to 1: turn scores into win shares first")

    def probability(i: int, j: int) -> float:
        known = [p for p in (wins[i][j], 1 - wins[j][i]) if not math.isnan(p)]
        return 0.5 if i == j or not known else sum(known) / len(known)

    return [[probability(i, j) for j in range(size)] for i in range(size)]


def win_rates(wins: Matrix) -> list[float]:
    """Each answer's mean probability of beating the others it was compared with (Borda count); 0.5 where there are none."""
    even = balanced(wins)
    rates = []
    for i in range(len(even)):
        met = [even[i][j] for j in range(len(even)) if j != i and not (math.isnan(wins[i][j]) and math.isnan(wins[j][i]))]
        rates.append(sum(met) / len(met) if met else 0.5)
    return rates


def best_order(wins: Matrix) -> list[int]:
    """Answers best first: the order that agrees most with the judgements (Kemeny), also where they run in a circle.

    Exact for up to `EXACT` answers, by dynamic programming over sets as for a travelling salesman; beyond, answers are ordered by
    win rate. Equally good orders are settled by win rate, then by position. The idea of one best path is TSPRank's (arXiv
    2411.12064), which adds up neighbours only: on raw probabilities that can put an answer before one that beats it, so all pairs
    count here.
    """
    even, rates = balanced(wins), win_rates(wins)
    preferred = sorted(range(len(even)), key=lambda i: (-rates[i], i))
    if len(even) > EXACT:
        return preferred
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}  # the set of answers placed last -> agreement, their order
    for placed in range(1, 1 << len(even)):
        choices = []
        for taste, i in enumerate(preferred):
            if placed >> i & 1:
                value, tail = best[placed ^ 1 << i]
                choices.append((round(value + sum(even[i][j] for j in tail), 9), -taste, (i, *tail)))
        value, _, order = max(choices)
        best[placed] = (value, order)
    return list(best[(1 << len(even)) - 1][1])
