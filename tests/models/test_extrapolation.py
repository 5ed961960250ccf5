"""Momentum between rounds: the weights beyond a newer model, away from an older one."""

import pytest
import torch

from data_contracts.errors import PlumblineError
from models.extrapolation import extrapolate

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
    assert extrapolate(new, old, 0.5)["w"].tolist() == pytest.approx([2.5, -1.0])  # new + 0.5 (new - old)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_momentum_is_the_newer_model_and_nothing_is_changed_in_place(dtype):
    old, new = weights(0, dtype), weights(1, dtype)
    found = extrapolate(new, old, 0.0)
    assert all(torch.equal(found[k], new[k]) and found[k].dtype == new[k].dtype and found[k] is not new[k] for k in new)
    assert extrapolate(new, old, 0.5)["seen"].item() == 1  # what is no weight is the newer model's
    assert all(torch.equal(old[k], v) for k, v in weights(0, dtype).items())


def test_half_precision_is_rounded_once():
    # 1 and 1 + 2^-7 are neighbours in bfloat16: twice their difference is exact in float32, and two steps after rounding
    old, new = {"w": torch.tensor([1.0]).bfloat16()}, {"w": torch.tensor([1 + 2**-7]).bfloat16()}
    assert extrapolate(new, old, 1.0)["w"].item() == 1 + 2**-6


def test_models_that_differ_are_refused_by_name():
    one = weights(0)
    with pytest.raises(PlumblineError, match=r"differ in 1 tensors \(first norm: \(3,\) and \(4,\)\)"):
        extrapolate(one, one | {"norm": torch.zeros(4)}, 0.1)
    with pytest.raises(PlumblineError, match=r"first lora: missing and \(1,\)"):
        extrapolate(one, one | {"lora": torch.zeros(1)}, 0.1)
    with pytest.raises(PlumblineError, match="norm are not finite"):
        extrapolate(one, one | {"norm": torch.full((3,), float("nan"))}, 0.1)
    with pytest.raises(PlumblineError, match="embed are not finite"):
        extrapolate({"embed": torch.tensor([3e38])}, {"embed": torch.tensor([-3e38])}, 1.0)


@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_a_momentum_that_makes_no_sense_is_refused(value):
    with pytest.raises(PlumblineError, match="momentum between rounds must be 0 or more"):
        extrapolate(weights(0), weights(1), value)
