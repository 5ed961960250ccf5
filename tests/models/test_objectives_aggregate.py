"""Win matrices to scores and orders."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.errors import PlumblineError
from models.objectives.aggregate import balanced, best_order, win_rates

NAN = float("nan")


def agreement(even, order):
    """Sum over pairs of P(the earlier beats the later), what `best_order` makes as large as it can be; `even` is balanced."""
    return sum(even[i][j] for i, j in itertools.combinations(order, 2))


def matrix(draw, size, unknown=True):
    entry = st.one_of(st.sampled_from([0.0, 0.5, 1.0, *([NAN] if unknown else [])]), st.floats(0, 1).map(lambda p: round(p, 3)))
    return [[draw(entry) for _ in range(size)] for _ in range(size)]


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_no_other_order_agrees_more(data):
    wins = matrix(data.draw, data.draw(st.integers(1, 5)))
    order = best_order(wins)
    assert sorted(order) == list(range(len(wins)))
    even = balanced(wins)
    best = max(agreement(even, other) for other in itertools.permutations(range(len(wins))))
    assert agreement(even, order) == pytest.approx(best, abs=1e-6)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_renaming_the_answers_renames_the_order(data):
    size = data.draw(st.integers(1, 8))
    generator = random.Random(data.draw(st.integers(0, 10**6)))
    wins = [[generator.random() for _ in range(size)] for _ in range(size)]  # no two orders agree equally
    name = generator.sample(range(size), size)
    renamed = [[wins[name[i]][name[j]] for j in range(size)] for i in range(size)]
    assert [name[i] for i in best_order(renamed)] == best_order(wins)
    assert win_rates(renamed) == pytest.approx([win_rates(wins)[i] for i in name])


@pytest.mark.parametrize("size", [2, 5, 8, 9, 12])
def test_judgements_without_contradiction_give_their_own_order(size):
    true = random.Random(size).sample(range(size), size)
    wins = [
        [0.5 if i == j else 0.5 + 0.4 * (1 if true.index(i) < true.index(j) else -1) for j in range(size)] for i in range(size)
    ]
    assert best_order(wins) == true
    assert sorted(range(size), key=lambda i: -win_rates(wins)[i]) == true


def test_a_circle_is_cut_at_its_weakest_judgement():
    # 0 beats 1 by 0.9, 1 beats 2 by 0.9, 2 beats 0 by 0.6: the orders 012, 120, 201 agree 2.2, 1.6, 1.6
    wins = [[0.5, 0.9, 0.4], [0.1, 0.5, 0.9], [0.6, 0.1, 0.5]]
    assert best_order(wins) == [0, 1, 2] and agreement(wins, [0, 1, 2]) == pytest.approx(2.2)
    assert agreement(wins, [1, 2, 0]) == agreement(wins, [2, 0, 1]) == pytest.approx(1.6)
    even = [[0.5, 0.8, 0.2], [0.2, 0.5, 0.8], [0.8, 0.2, 0.5]]
    assert win_rates(even) == pytest.approx([0.5] * 3)
    assert best_order(even) == [0, 1, 2]  # all three cuts agree equally: position settles it


def test_all_pairs_count_and_not_only_neighbours():
    # 0 beats 1 (0.6), 1 beats 2 (0.7), 0 surely beats 2. A path of neighbours prefers 1, 0, 2 (0.4 + 1.0 > 0.6 + 0.7),
    # against the judgement that 0 beats 1.
    wins = [[0.5, 0.6, 1.0], [0.4, 0.5, 0.7], [0.0, 0.3, 0.5]]

    def neighbours(order):
        return sum(wins[i][j] for i, j in itertools.pairwise(order))

    assert max(itertools.permutations(range(3)), key=neighbours) == (1, 0, 2)
    assert best_order(wins) == [0, 1, 2]


def test_both_ways_round_are_averaged_and_the_unknown_is_even():
    found = balanced([[9.0, 0.8, NAN], [0.4, 0.0, NAN], [0.3, NAN, NAN]])  # the diagonal is ignored
    assert found == [[0.5, pytest.approx(0.7), 0.7], [pytest.approx(0.3), 0.5, 0.5], [pytest.approx(0.3), 0.5, 0.5]]
    assert win_rates([[NAN] * 3, [NAN, NAN, 1.0], [NAN] * 3]) == [0.5, 1.0, 0.0]
    assert best_order([]) == [] and best_order([[0.5]]) == [0]


def test_what_is_no_win_matrix_is_refused():
    with pytest.raises(PlumblineError, match="must be square"):
        best_order([[0.5, 0.6], [0.4]])
    with pytest.raises(PlumblineError, match="probabilities from 0 to 1"):
        win_rates([[0.5, 7.0], [-6.0, 0.5]])
