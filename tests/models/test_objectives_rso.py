"""RSO's rejection sampler."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.errors import PlumblineError
from models.objectives.rso import rejection_sample


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=12), st.data())
def test_it_ends_with_as_many_different_candidates_as_asked(rewards, data):
    keep = data.draw(st.integers(1, len(rewards)))
    drawn = rejection_sample(rewards, keep, 0.5, seed=1)
    assert len(drawn) == len(set(drawn)) == keep and set(drawn) <= set(range(len(rewards)))
    assert drawn == rejection_sample(rewards, keep, 0.5, seed=1)


def test_towards_zero_temperature_it_takes_the_best_and_towards_infinity_any():
    rewards = [0.1, 0.9, 0.5, 0.7, 0.3]
    assert rejection_sample(rewards, 3, 1e-6, seed=0) == [1, 3, 2]
    counts = Counter(rejection_sample(rewards, 1, 1e9, seed)[0] for seed in range(2000))
    assert all(abs(n - 400) < 80 for n in counts.values()) and len(counts) == 5


def test_a_candidate_is_accepted_with_the_tilted_probability():
    """Of two with rewards 0 and -log 2 at temperature 1: the first is always accepted in the first sweep, the second in half."""
    both = sum(len(set(rejection_sample([0.0, -math.log(2), -99.0], 2, 1.0, seed)) & {1}) for seed in range(4000))
    first_is_second = sum(rejection_sample([0.0, -math.log(2)], 1, 1.0, seed)[0] == 1 for seed in range(4000))
    assert both == 4000  # the hopeless third is never preferred
    assert first_is_second / 4000 == pytest.approx(0.25, abs=0.03)  # looked at first in half of the sweeps, accepted in half


def test_what_would_never_end_is_refused():
    for rewards, keep in (([1.0], 2), ([], 1), ([1.0], 0)):
        with pytest.raises(PlumblineError, match="cannot keep"):
            rejection_sample(rewards, keep, 0.5, 0)
    with pytest.raises(PlumblineError, match="finite"):
        rejection_sample([1.0, math.nan], 1, 0.5, 0)
    with pytest.raises(PlumblineError, match="positive temperature"):
        rejection_sample([1.0], 1, 0.0, 0)
