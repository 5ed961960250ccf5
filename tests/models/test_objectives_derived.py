"""Losses and gradients by hand where no shared vector has both: the derivation stands beside each value.

The example unless said otherwise: pi = (-12, -15), ref = (-13, -14.5), lengths 20 and 25; so r_w = 1, r_l = -1/2, h = 3/2.
s is the logistic function, sp(x) = log(1 + e^x).
"""

import json
import math

import pytest
import torch

from models.objectives.batch import Answers
from models.objectives.list_registry import LISTS
from tests.models import test_objectives_lists as on_lists
from tests.models.objective_cases import PAIR_NAMES, batch, loss_and_gradient, make, sp
from tests.models.test_objectives_vectors import VECTORS

DERIVED = ["rso_sigmoid", "dove", "dno", "ld_dpo", "mapo", "mapl", "bapo", "mrpo", "aot", "aot_unpaired", "relative_po"]


def s(x):
    return 1 / (1 + math.exp(-x))


def check(found, losses, gradients):
    assert found[0].tolist() == pytest.approx(losses, abs=1e-9)
    torch.testing.assert_close(found[1], torch.tensor(gradients, dtype=torch.float64), rtol=1e-9, atol=1e-9)


def test_logistic_losses_of_the_difference():
    """-log s(c h) has the gradient -c s(-c h) and its opposite."""
    for name, c in (("rso_sigmoid", 0.05), ("dove", 0.1), ("dno", 1.0)):
        slope = c * s(-1.5 * c)
        check(loss_and_gradient(make(name), batch()), [sp(-1.5 * c)], [[-slope, slope]])


def test_dno_regresses_on_the_difference_of_win_rates():
    """Win probability 0.8: rates 0.8 and 0.2, p = s(0.6); gradient eta (s(eta h) - p)."""
    p = s(0.6)
    found = loss_and_gradient(make("dno", practical=False, eta=0.1), batch(win_prob=[[[0.5, 0.8], [0.2, 0.5]]]))
    check(found, [p * sp(-0.15) + (1 - p) * sp(0.15)], [[0.1 * (s(0.15) - p), -0.1 * (s(0.15) - p)]])


def test_ld_dpo_discounts_the_rejected_answers_tail():
    """5 of its 25 tokens lie past the chosen answer's 20 and count half: r_l' = 0.9 r_l = -0.45, h' = 1.45."""
    slope = 0.1 * s(-0.145)
    check(loss_and_gradient(make("ld_dpo"), batch()), [sp(-0.145)], [[-slope, 0.9 * slope]])


def test_mapo_at_equal_means():
    """l = 12/20 = 15/25 = 0.6, so the margin is 0: loss 0.6 + 0.1 log 2. With x = c l = 0.3 and g(x) = x / (e^x - 1): g' =
    (e^x - 1 - x e^x) / (e^x - 1)^2, and the margin's slope by l is c g' = g' / 2; -beta s(0) of it, times dl / dpi = -1 / n."""
    e = math.exp(0.3)
    by_l = -0.05 * 0.5 * (e - 1 - 0.3 * e) / (e - 1) ** 2
    check(loss_and_gradient(make("mapo"), batch()), [0.6 + 0.1 * math.log(2)], [[(1 + by_l) / -20, by_l / 25]])


def test_mapl_adds_two_logistic_losses():
    """Under the changed prompt both ratios are -1: r_w - r_w' = 2 and h - h' = 3/2. Only the batch's own answers are varied."""
    found = loss_and_gradient(make("mapl", beta=0.1), batch())
    check(found, [2 * sp(-0.15) + sp(-0.2)], [[-0.1 * (2 * s(-0.15) + s(-0.2)), 0.2 * s(-0.15)]])


def test_bapo_hinges_the_base_answer():
    """It fell by 2 nats over 20 tokens: 0.1 a token, and its own gradient is -1/20."""
    logp = torch.tensor([[-20.0]], dtype=torch.float64, requires_grad=True)
    base = Answers(logp, torch.tensor([[-18.0]], dtype=torch.float64), torch.tensor([[20]]))
    b = batch(aux={"base": base})
    slope = 0.1 * s(-0.15)
    check(loss_and_gradient(make("bapo"), b), [sp(-0.15) + 0.1], [[-slope, slope]])
    from models.objectives.batch import State

    (own,) = torch.autograd.grad(make("bapo")(b, State())[0].sum(), logp)
    assert own.item() == pytest.approx(-1 / 20)


def test_aot_and_relative_po_across_two_pairs():
    """pi (-10, -11), (-10, -15) over ref (-10, -13), (-12, -10): ratios (0, 2) and (2, -5)."""
    b = batch([(-10.0, -11.0), (-10.0, -15.0)], [(-10.0, -13.0), (-12.0, -10.0)])
    # policy margins 1, 5 against reference margins -2, 3 by rank: 3 and 2
    one, two = 0.1 * s(-0.3), 0.1 * s(-0.2)
    check(loss_and_gradient(make("aot", beta=0.1), b), [sp(-0.3), sp(-0.2)], [[-one, one], [-two, two]])
    # the chosen ratio 0 meets the rejected one -5, which is the other pair's; 2 meets 2
    one, two = 0.1 * s(-0.5), 0.1 * s(0.0)
    check(loss_and_gradient(make("aot_unpaired", beta=0.1), b), [sp(-0.5), sp(0.0)], [[-one, two], [-two, one]])
    # embeddings (2, 1) and (1, 2): cosine 4/5, own weight 1 / (1 + e^((0.8 - 1) / 0.5)); differences 0 - 2, 0 + 5; 2 - 2, 2 + 5
    w = 1 / (1 + math.exp(-0.4))
    losses = [w * sp(0.2) + (1 - w) * sp(-0.5), w * sp(-0.7) + (1 - w) * sp(0.0)]
    own, other = [s(0.2), s(-0.7)], [s(-0.5), s(0.0)]
    chosen = [-0.1 * (w * a + (1 - w) * c) for a, c in zip(own, other, strict=True)]
    rejected = [0.1 * (w * own[0] + (1 - w) * other[1]), 0.1 * (w * own[1] + (1 - w) * other[0])]
    expected = [list(row) for row in zip(chosen, rejected, strict=True)]
    check(loss_and_gradient(make("relative_po"), b), losses, expected)


def test_mrpo_against_its_vector_and_with_its_gradient(shared_data):
    """The other reference is 1 nat below for the chosen and 1/2 above for the rejected answer; 1 / ref~ is the mean of both
    1 / ref: ref~ = -log((e^-a + e^-b) / 2), and the gradient is dpo's against it."""
    shared = json.loads((shared_data.parent / "reference" / "objective_vectors.json").read_text())
    given, inputs = shared["multi_ref"]["mrpo"]["A"], shared["meta"]["sets"]["A"]
    pi, ref = (inputs["pi_w"], inputs["pi_l"]), (inputs["ref_w"], inputs["ref_l"])
    refs = torch.tensor([[ref], [(ref[0] - 1, ref[1] + 0.5)]], dtype=torch.float64)
    mixed = [-math.log((math.exp(-a) + math.exp(-b)) / 2) for a, b in zip(*refs[:, 0].tolist(), strict=True)]
    assert mixed == pytest.approx([given["ref_w_mix"], given["ref_l_mix"]], abs=1e-6)
    h = (pi[0] - mixed[0]) - (pi[1] - mixed[1])
    found = loss_and_gradient(make("mrpo"), batch([pi], [ref], ref_logp=refs))
    assert found[0].item() == pytest.approx(given["loss"], abs=1e-6)
    check(found, [sp(-0.1 * h)], [[-0.1 * s(-0.1 * h), 0.1 * s(-0.1 * h)]])


def test_every_objective_has_its_values_somewhere():
    """On pairs loss and gradient; on lists and groups the loss, whose gradient equals finite differences there."""
    assert {row[1] for row in VECTORS} | set(DERIVED) == set(PAIR_NAMES)
    by_hand = {"s_dpo", "ranklist", "multi_similarity", "spo_degree", "tree_po"}
    groups = {"grpo", "dr_grpo", "rloo", "pref_grpo", "pairwise_rl"}
    assert {name for name, _ in on_lists.SHARED.values()} | by_hand | groups == set(LISTS)
