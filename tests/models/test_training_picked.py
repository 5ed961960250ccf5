"""The head's hand-written gradient against torch's own operators."""

import pytest
import torch

from models.training import picked
from models.training.picked import Picked


def cases(slope):
    draw = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(40, 12, generator=draw), 3 * torch.randn(90, 12, generator=draw)
    return hidden.requires_grad_(), weight.requires_grad_(), torch.randint(0, 90, (40,), generator=draw), slope(40, draw)


def by_torch(hidden, weight, targets):
    return (hidden @ weight.T).log_softmax(-1).gather(-1, targets[:, None])[:, 0]


SLOPES = {
    "all": lambda n, draw: torch.randn(n, generator=draw),
    "some": lambda n, draw: torch.randn(n, generator=draw) * (torch.arange(n) % 3 > 0),
    "none": lambda n, draw: torch.zeros(n),
}


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("cache", [1, 90 * 7, 1 << 20])
def test_values_and_gradients_are_torchs_own_and_rows_without_a_slope_cost_nothing(monkeypatch, slope, cache):
    monkeypatch.setattr(picked, "CACHE", cache)
    hidden, weight, targets, slope = cases(SLOPES[slope])
    expected = by_torch(hidden.double(), weight.double(), targets)
    theirs = torch.autograd.grad(expected, (hidden, weight), slope.double())
    found, total = Picked.apply(hidden, weight, (hidden @ weight.T).detach(), targets)
    products = []
    with torch.profiler.profile(record_shapes=True) as recorded:
        mine = torch.autograd.grad(found, (hidden, weight), slope)
    for event in recorded.events():
        if event.name == "aten::mm":
            products.append(event.input_shapes)
    rows = int((slope != 0).sum())
    assert sorted(products) == sorted([[[rows, 90], [90, 12]], [[90, rows], [rows, 12]]])
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(total, (hidden @ weight.T).logsumexp(-1))
    for a, b in zip(mine, theirs, strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm() and a.isfinite().all()


def test_the_softmax_is_written_over_the_logits_and_a_second_backward_pass_is_refused():
    hidden, weight, targets, slope = cases(SLOPES["all"])
    found, _ = Picked.apply(hidden, weight, (hidden @ weight.T).detach(), targets)
    found.backward(slope, retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        found.backward(slope)


def test_a_frozen_head_gets_no_gradient_of_its_own():
    hidden, weight, targets, slope = cases(SLOPES["all"])
    weight = weight.detach()
    found, _ = Picked.apply(hidden, weight, (hidden @ weight.T).detach(), targets)
    (mine,) = torch.autograd.grad(found, hidden, slope)
    (theirs,) = torch.autograd.grad(by_torch(hidden.double(), weight.double(), targets), hidden, slope.double())
    assert (mine - theirs).norm() < 1e-5 * theirs.norm()
