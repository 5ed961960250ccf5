"""Objectives against values worked out apart from this code, and against the identities that tie them together.

The table holds one example's loss and its gradients by pi_w and pi_l, from `reference/objective_vectors.json` (pure Python,
finite differences): pi_w = -12, pi_l = -15, ref_w = -13, ref_l = -14.5, lengths 20 and 25, beta 0.1.
"""

import math
import subprocess
import sys
from dataclasses import dataclass
from typing import ClassVar, get_args

import pytest
import torch

from data_contracts.errors import PlumblineError
from data_contracts.objective_config import ObjectiveConfig
from models.objectives import PAIRS_SERVE, REGISTRY, build_objective, check
from models.objectives.batch import Answers, Batch, Need, State

CONFIGS = {c.model_fields["name"].annotation.__args__[0]: c for c in get_args(get_args(ObjectiveConfig)[0])}
PI, REF, LENGTHS = (-12.0, -15.0), (-13.0, -14.5), (20, 25)
VECTORS = [
    ("sft", 0.0, 0.6, -0.05, 0.0),
    ("dpo", 0.0, 0.620957, -0.046257, 0.046257),
    ("apo_zero", 0.0, 0.962523, -0.024938, 0.024984),
    ("apo_down", 0.0, 0.987549, 7.8e-05, 0.02486),
    ("kto", 0.0, 0.962523, -0.024938, 0.024984),
    ("kto", 0.25, 0.962518, -0.024965, 0.024965),
    ("apo_zero_unpaired", 0.0, 0.962523, -0.024938, 0.024984),
]


def make(name, **parameters):
    return build_objective(CONFIGS[name](name=name, **parameters))


def batch(pi, ref, z=0.0, label=(1.0, -1.0), dtype=torch.float64):
    """One row per pair in `pi` [B][K]; the mismatched answers of the batch have a mean log-ratio of `z`."""
    logp, ref = torch.tensor(pi, dtype=dtype), torch.tensor(ref, dtype=dtype)
    zero = torch.zeros(3, 2, dtype=dtype)
    other = Answers(zero + z, zero, zero + 1)
    return Batch(
        logp.requires_grad_(),
        torch.tensor(LENGTHS)[: logp.shape[1]].expand(logp.shape),
        ref[None],
        torch.tensor(label, dtype=dtype).expand(logp.shape),
        aux={"mismatch": other},
    )


def loss_and_gradient(objective, b):
    loss, _, _ = objective(b, State())
    (gradient,) = torch.autograd.grad(loss.sum(), b.logp)
    return loss.detach(), gradient


def test_registry_and_config_name_the_same_objectives():
    assert set(REGISTRY) == set(CONFIGS)
    for name, config in CONFIGS.items():
        assert build_objective(config(name=name)).name == name


@pytest.mark.parametrize("name,z,loss,down_w,down_l", VECTORS)
def test_loss_and_gradient_equal_the_published_vectors(name, z, loss, down_w, down_l):
    found, gradient = loss_and_gradient(make(name), batch([PI], [REF], z, dtype=torch.float32))
    assert found.item() == pytest.approx(loss, abs=1e-6)
    assert gradient[0].tolist() == pytest.approx([down_w, down_l], abs=1e-6)


def test_the_table_is_the_shared_one(shared_data):
    import json

    pair = json.loads((shared_data.parent / "reference" / "objective_vectors.json").read_text())["pair"]
    names = {"sft": "sft_token_mean", ("kto", 0.0): "kto_pair_kl0", ("kto", 0.25): "kto_pair_kl0.25"}
    for name, z, *numbers in VECTORS[:-1]:
        shared = pair[names.get((name, z), names.get(name, name))]["A"]
        assert numbers == [shared["loss"], shared["dloss_dpi_w"], shared["dloss_dpi_l"]]


@pytest.mark.parametrize("name,z", [("kto", 0.25), ("apo_zero_unpaired", 0.0)])
@pytest.mark.parametrize("side", [0, 1])
def test_unpaired_objectives_take_single_answers(name, z, side):
    expected = {
        ("kto", 0): (0.481259, -0.024965),
        ("kto", 1): (0.481259, 0.024965),
        ("apo_zero_unpaired", 0): (0.475021, -0.024938),
        ("apo_zero_unpaired", 1): (0.487503, 0.024984),
    }
    loss, gradient = loss_and_gradient(make(name), batch([[PI[side]]], [[REF[side]]], z, label=([1.0, -1.0][side],)))
    assert (loss.item(), gradient.item()) == pytest.approx(expected[name, side], abs=1e-6)


@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_equal_finite_differences(name):
    torch.manual_seed(0)
    pi, ref = (torch.randn(5, 2, dtype=torch.float64) * 3 - 20 for _ in range(2))
    objective = make(name)

    def losses(logp):
        return objective(Batch(logp, torch.tensor(LENGTHS).expand(5, 2), ref[None], batch(pi.tolist(), ref.tolist()).label,
                               aux=batch(pi.tolist(), ref.tolist(), 0.3).aux), State())[0]  # fmt: skip

    assert torch.autograd.gradcheck(losses, pi.requires_grad_())


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("w", [-200.0, 0.0, 200.0])
@pytest.mark.parametrize("l", [-200.0, 0.0, 200.0])
def test_loss_and_gradient_stay_finite_far_from_the_reference(name, w, l):  # noqa: E741
    for beta in (0.1, 5.0):
        objective = make(name, **({} if name == "sft" else {"beta": beta}))
        loss, gradient = loss_and_gradient(objective, batch([(w - 300, l - 300)], [(-300.0, -300.0)], 200.0, dtype=torch.float32))
        assert loss.isfinite().all() and gradient.isfinite().all()


def test_at_the_reference_losses_are_the_known_constants():
    known = {"dpo": math.log(2), "apo_zero": 1.0, "apo_down": 1.0, "kto": 1.0, "apo_zero_unpaired": 1.0}
    for name, value in known.items():
        loss, _ = loss_and_gradient(make(name), batch([PI], [PI]))
        assert loss.item() == pytest.approx(value, abs=1e-12)


def test_apo_down_leaves_the_chosen_answer_exactly_alone_at_the_reference():
    _, gradient = loss_and_gradient(make("apo_down"), batch([PI], [PI], dtype=torch.float32))
    assert gradient[0, 0].item() == 0.0
    assert gradient[0, 1].item() == pytest.approx(0.1 / 4)


def test_apo_down_pushes_the_chosen_answer_down_once_the_margin_exceeds_its_reward():
    _, wide = loss_and_gradient(make("apo_down"), batch([(-10.0, -25.0)], [(-12.0, -15.0)]))
    _, narrow = loss_and_gradient(make("apo_down"), batch([(-7.0, -11.0)], [(-12.0, -15.0)]))
    assert wide[0, 0] > 0 > narrow[0, 0]
    assert wide[0, 1] > 0 and narrow[0, 1] > 0


def test_apo_zero_moves_the_two_answers_independently():
    _, one = loss_and_gradient(make("apo_zero"), batch([(-12.0, -15.0)], [REF]))
    _, other = loss_and_gradient(make("apo_zero"), batch([(-12.0, -40.0)], [REF]))
    assert one[0, 0] == other[0, 0] < 0 < other[0, 1] < one[0, 1]


def test_dpo_constrains_the_difference_only():
    _, gradient = loss_and_gradient(make("dpo"), batch([(-40.0, -60.0), PI], [(-13.0, -14.5), REF]))
    assert torch.equal(gradient[:, 0], -gradient[:, 1])


def test_kto_without_divergence_and_unpaired_apo_equal_apo_zero_on_pairs():
    torch.manual_seed(1)
    pi, ref = ((torch.randn(7, 2) * 5 - 20).tolist() for _ in range(2))
    expected = loss_and_gradient(make("apo_zero", beta=0.4), batch(pi, ref))
    for name in ("kto", "apo_zero_unpaired"):
        for found, wanted in zip(loss_and_gradient(make(name, beta=0.4), batch(pi, ref)), expected, strict=True):
            torch.testing.assert_close(found, wanted)
    assert not torch.allclose(loss_and_gradient(make("kto", beta=0.4), batch(pi, ref, z=1.0))[0], expected[0])


def test_kto_divergence_is_clamped_at_zero_reported_and_carries_no_gradient():
    below, at = (make("kto")(batch([PI], [REF], z), State()) for z in (-3.0, 0.0))
    assert torch.equal(below[0], at[0]) and below[1] == at[1] == {"kl": 0.0}
    assert make("kto")(batch([PI], [REF], 0.25), State())[1] == {"kl": pytest.approx(0.25)}
    other = Answers(torch.ones(1, 2, requires_grad=True), torch.zeros(1, 2), torch.ones(1, 2))
    b = batch([PI], [REF], dtype=torch.float32)
    make("kto")(Batch(b.logp, b.lengths, b.ref_logp, b.label, aux={"mismatch": other}), State())[0].sum().backward()
    assert other.logp.grad is None


def test_kto_weights_scale_their_own_side():
    plain, weighted = (make("kto", **w) for w in ({}, {"desirable_weight": 2.0, "undesirable_weight": 0.5}))
    _, before = loss_and_gradient(plain, batch([PI], [REF]))
    _, after = loss_and_gradient(weighted, batch([PI], [REF]))
    assert (after / before)[0].tolist() == pytest.approx([2.0, 0.5])


def test_half_precision_log_probabilities_are_refused():
    with pytest.raises(TypeError, match="float32"):
        Batch(torch.zeros(1, 2, dtype=torch.bfloat16), torch.ones(1, 2))


def test_an_objective_whose_need_is_missing_is_refused_by_name():
    @dataclass(frozen=True)
    class Listwise:
        name: ClassVar[str] = "listwise"
        needs: ClassVar[Need] = Need.LIST | Need.SCORES | Need.REFERENCE

    with pytest.raises(PlumblineError, match=r"listwise needs three or more ranked answers .* and a judge's score"):
        check(Listwise)
    with pytest.raises(PlumblineError, match="dpo needs a reference model"):
        check(REGISTRY["dpo"], Need.PAIR)
    for need in Need:  # every need has its words
        with pytest.raises(PlumblineError):
            check(type("Any", (), {"name": "any", "needs": need}), Need(0))


def test_pairs_serve_every_registered_objective():
    for objective in REGISTRY.values():
        check(objective, PAIRS_SERVE)


def test_needs_are_known_without_importing_torch():
    code = "import sys, models.objectives, models.training.process, models.training.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
