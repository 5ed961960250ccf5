"""The order of pairs, degraded answers, and the likeness of steps."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.errors import PlumblineError
from models.objectives.curriculum import stages
from models.objectives.degradations import degrade
from models.objectives.steps import step_similarity

NAN = float("nan")
ANSWER = "The river Danube flows through 10 countries,\n  more than any other river in the world."


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=40), st.integers(1, 8))
def test_every_pair_is_in_one_stage_and_no_stage_is_easier_than_the_one_before(gaps, n):
    if n > len(gaps):
        with pytest.raises(PlumblineError, match="needs at least that many pairs"):
            stages(gaps, n)
        return
    found = stages(gaps, n)
    assert sorted(i for stage in found for i in stage) == list(range(len(gaps)))
    sizes = [len(stage) for stage in found]
    assert len(sizes) == n and max(sizes) - min(sizes) <= 1
    assert all(min(gaps[i] for i in a) >= max(gaps[i] for i in b) for a, b in pairwise(found))


def test_stages_keep_the_order_of_equals_and_put_pairs_the_reference_misranks_last():
    assert stages([1.0, -5.0, 3.0, 1.0, 1.0], 2) == [[2, 0, 3], [4, 1]]


def test_a_curriculum_without_gaps_or_stages_is_refused():
    with pytest.raises(PlumblineError, match=r"2 have none \(the first is pair 1\)"):
        stages([1.0, NAN, NAN], 2)
    with pytest.raises(PlumblineError):
        stages([1.0], 0)


def test_each_degradation_lacks_all_that_the_milder_ones_lack():
    texts = [ANSWER, *degrade(ANSWER, [0.2, 0.5, 1.0], seed=1)]
    words = [set(re.findall(r"\w+", text)) for text in texts]
    assert all(b < a for a, b in pairwise(words))
    assert texts[-1] == "The ,\n any in the ."  # all content gone, the frame left
    assert degrade(ANSWER, [0.2, 0.5, 1.0], seed=1) == texts[1:] != degrade(ANSWER, [0.2, 0.5, 1.0], seed=2)


@given(st.text(max_size=80), st.integers(0, 9))
@settings(deadline=None)
def test_degrading_never_adds_text(text, seed):
    mild, hard = degrade(text, [0.3, 0.9], seed)
    assert len(hard) <= len(mild) <= len(text)


@pytest.mark.parametrize("shares", [[], [0.0, 0.5], [0.5, 0.5], [0.8, 0.2], [0.5, 1.1]])
def test_shares_that_do_not_grow_are_refused(shares):
    with pytest.raises(ValueError, match="shares must grow"):
        degrade(ANSWER, shares, seed=0)


def test_steps_weigh_by_their_likeness_to_the_best_answers_step():
    # "add" against four words of which it is one: cosine 1 / sqrt(1 * 4)
    best = ["add two and three", "five"]
    assert step_similarity(best, best) == [2.0, 2.0]
    assert step_similarity(["Add", "six", "five", "FIVE!"], best) == [pytest.approx(1.5), 1.0, 2.0, 2.0]
    assert step_similarity(["", "!"], ["", "five"]) == [2.0, 1.0]
    with pytest.raises(ValueError, match="no steps"):
        step_similarity(["a"], [])
