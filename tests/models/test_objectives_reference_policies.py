"""References that follow the policy and momentum between rounds."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.errors import PlumblineError
from models.objectives.reference_policies import extrapolate, follow

torch.set_num_threads(1)


def weights(seed, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    return {
        "embed": torch.randn(4, 3, generator=g).to(dtype),
        "norm": torch.randn(3, generator=g).to(dtype),
        "seen": torch.tensor(seed),
    }


def test_values_derived_by_hand():
    old, new = {"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([2.0, 0.0])}
    assert follow(old, new, 0.6)["w"].tolist() == pytest.approx([1.6, 0.8])  # 0.6 new + 0.4 old
    assert extrapolate(new, old, 0.5)["w"].tolist() == pytest.approx([2.5, -1.0])  # new + 0.5 (new - old)


@given(st.floats(0, 1), st.floats(0, 3))
@settings(deadline=None)
def test_a_step_there_and_back_changes_nothing(rate, momentum):
    old, new = weights(0, torch.float64), weights(1, torch.float64)
    ahead = extrapolate(new, old, momentum)
    # new lies on the line from old to ahead, at 1 / (1 + momentum)
    torch.testing.assert_close(follow(old, ahead, 1 / (1 + momentum)), new | {"seen": ahead["seen"]})
    between = follow(old, new, rate)
    assert all((between[k] <= torch.maximum(old[k], new[k]) + 1e-12).all() for k in ("embed", "norm"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ends_are_exact_and_nothing_is_changed_in_place(dtype):
    old, new = weights(0, dtype), weights(1, dtype)
    for found, expected in ((follow(old, new, 0.0), old), (follow(old, new, 1.0), new), (extrapolate(new, old, 0.0), new)):
        assert all(torch.equal(found[k], expected[k]) and found[k].dtype == expected[k].dtype for k in ("embed", "norm"))
        assert found["seen"].item() == 1  # what is no weight is the newer model's
        assert all(found[k] is not expected[k] for k in found)
    assert all(torch.equal(old[k], v) for k, v in weights(0, dtype).items())


def test_half_precision_is_rounded_once():
    # 1 and 1 + 2^-7 are neighbours in bfloat16; three halves of their difference is exact in float32, then rounds to two steps
    old, new = {"w": torch.tensor([1.0]).bfloat16()}, {"w": torch.tensor([1 + 2**-7]).bfloat16()}
    assert extrapolate(new, old, 1.0)["w"].item() == 1 + 2**-6
    assert follow(old, new, 0.6)["w"].item() == 1 + 2**-7  # 1.0047 lies nearer to it


def test_models_that_differ_are_refused_by_name():
    one = weights(0)
    with pytest.raises(PlumblineError, match=r"differ in 1 tensors \(first norm: \(3,\) and \(4,\)\)"):
        extrapolate(one, one | {"norm": torch.zeros(4)}, 0.1)
    with pytest.raises(PlumblineError, match=r"first lora: missing and \(1,\)"):
        follow(one | {"lora": torch.zeros(1)}, one, 0.1)
    with pytest.raises(PlumblineError, match="norm are not finite"):
        extrapolate(one, one | {"norm": torch.full((3,), float("nan"))}, 0.1)
    with pytest.raises(PlumblineError, match="embed are not finite"):
        extrapolate({"embed": torch.tensor([3e38])}, {"embed": torch.tensor([-3e38])}, 1.0)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_rates_that_make_no_sense_are_refused(value):
    with pytest.raises(PlumblineError, match="rate from 0 to 1"):
        follow(weights(0), weights(1), value)
    if value != 1.1:
        with pytest.raises(PlumblineError, match="momentum between rounds must be 0 or more"):
            extrapolate(weights(0), weights(1), value)


def test_a_followed_reference_reaches_a_policy_that_stands_still():
    reference, policy = weights(0), weights(1)
    for _ in range(40):
        reference = follow(reference, policy, 0.6)
    torch.testing.assert_close(reference["embed"], policy["embed"], atol=1e-6, rtol=0)
