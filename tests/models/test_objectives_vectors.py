"""Objectives on pairs against `reference/objective_vectors.json`: pure Python, gradients by finite differences.

One example: pi_w = -12, pi_l = -15, ref_w = -13, ref_l = -14.5, lengths 20 and 25. A row: name there, objective, parameters,
fields of the batch, and loss, gradient by pi_w and by pi_l there.
"""

import json
import math

import pytest
import torch

from models.objectives.batch import Answers, State
from tests.models.objective_cases import LENGTHS, PI, batch, loss_and_gradient, make, single


def wins(p):
    return [[[0.5, p], [1 - p, 0.5]]]


def mismatch(z):
    zero = torch.zeros(3, 2, dtype=torch.float64)
    return {"aux": {"mismatch": Answers(zero + z, zero, zero + 1)}}


OVERLAP = {"self_overlap": [[pi - n * math.log(w) for pi, n, w in zip(PI, LENGTHS, (0.8, 0.6), strict=True)]]}
# the mean stays 0 and the variance 1 once this pair, whose gap is 0.07, has entered them with weight 0.1
_BEFORE = State(10**6, -0.07 / 9, (1 - 0.09 * (0.07 + 0.07 / 9) ** 2) / 0.9)

VECTORS = [
    ("sft_token_mean", "sft", {}, {}, 0.6, -0.05, 0.0),
    ("dpo", "dpo", {}, {}, 0.620957, -0.046257, 0.046257),
    ("cdpo", "cdpo", {}, {}, 0.635957, -0.036257, 0.036257),
    ("robust_dpo", "robust", {}, {}, 0.602207, -0.058757, 0.058757),
    ("ipo_sum", "ipo_sum", {}, {}, 12.25, -7.0, 7.0),
    ("ipo_mean", "ipo_mean", {}, {}, 24.3049, -0.493, 0.3944),
    ("hinge_ref", "hinge", {}, {}, 0.85, -0.1, 0.1),
    ("rso_hinge_norm", "rso_hinge", {}, {}, 0.925, -0.05, 0.05),
    ("slic_hf", "slic", {}, {}, 1.2, -0.1, 0.0),
    ("kto_pair_kl0", "kto", {}, mismatch(0.0), 0.962523, -0.024938, 0.024984),
    ("kto_pair_kl0.25", "kto", {}, mismatch(0.25), 0.962518, -0.024965, 0.024965),
    ("bco_delta", "bco", {}, {}, 1.3127, -0.048126, 0.048126),  # beta r is 0.1 and -0.05: their mean is the 0.025 of the vector
    ("bco_pair_delta0", "mpo", {"preference": 0.0, "quality": 1.0, "generation": 0.0}, {}, 1.312856, -0.047502, 0.04875),
    ("orpo", "orpo", {}, {}, 0.669315, -0.055541, 0.004433),
    ("simpo", "simpo", {}, {}, 0.974077, -0.062246, 0.049797),
    ("simpo_beta0.1", "simpo", {"beta": 0.1}, {}, 0.705725, -0.002531, 0.002025),
    ("cpo", "cpo", {}, {}, 1.154355, -0.092556, 0.042556),
    ("nca_pair", "nca", {"beta": 0.1}, {}, 1.350825, -0.021253, 0.024375),
    ("rpo_dpo_nll", "rpo", {}, {}, 1.220957, -0.096257, 0.046257),
    ("discopop_lrml", "discopop", {"beta": 0.1}, {}, 0.849338, -0.06252, 0.06252),
    ("wpo_dpo", "wpo", {"beta": 0.1}, OVERLAP, 0.298059, -0.022203, 0.022203),
    ("sppo_hard_trl", "sppo_hard", {}, {}, 36.25, -8.0, 9.0),
    ("sppo_soft_p0.8", "sppo_soft", {"beta": 0.001}, {"win_prob": wins(0.8)}, 89550.625, -298.999999, 299.499999),
    ("exo_pair", "exo", {}, {}, 2.505517, -0.167972, 0.167972),
    ("apo_zero", "apo_zero", {}, {}, 0.962523, -0.024938, 0.024984),
    ("apo_down", "apo_down", {}, {}, 0.987549, 7.8e-05, 0.02486),
    ("apo_zero", "apo_auto", {}, {"score": [[2.0, 1.0]]}, 0.962523, -0.024938, 0.024984),
    ("apo_down", "apo_auto", {}, {"score": [[1.0, 2.0]]}, 0.987549, 7.8e-05, 0.02486),
    ("apo_zero", "apo_zero_unpaired", {}, {}, 0.962523, -0.024938, 0.024984),
    ("dpo_len_norm", "dpo_norm", {"beta": 0.1}, {}, 0.689653, -0.002491, 0.001993),
    ("fdpo_forward_kl", "fdpo", {"divergence": "forward_kl", "beta": 0.1}, {}, 0.631154, -0.017218, 0.077164),
    ("fdpo_js", "fdpo", {"divergence": "js", "beta": 0.1}, {}, 0.660652, -0.013003, 0.030095),
    ("fdpo_alpha0.5", "fdpo", {"divergence": "alpha", "beta": 0.1}, {}, 0.627691, -0.028275, 0.059858),
    ("mpo_mix", "mpo", {}, {}, 1.359337, -0.096506, 0.046756),
    ("cal_dpo_beta0.001", "cal_dpo", {"beta": 0.001}, {}, 249250.826413, -499.182424, 499.682424),
    ("cal_dpo_beta0.1", "cal_dpo", {}, {}, 18.326413, -4.182426, 4.682426),
    ("alpha_dpo", "alpha_dpo", {}, {}, 1.730119, -0.102842, 0.082274),
    ("minor_dpo", "minor_dpo", {}, {}, 0.644397, -0.047502, 0.0),
    ("ada_dpo", "ada_dpo", {}, {}, -0.292241, -0.194827, 0.194827),
    # alpha_j = 0.2 is an uncertainty of 0.4 ln 2 in the repaired form; the vector has no likelihood term
    ("upo_uncertainty_alpha0.2", "upo_uncertainty", {"nll_weight": 0.0}, {"uncertainty": [0.4 * math.log(2)]},
     0.650957, -0.026257, 0.026257),
    ("rosepo_osp_soft_label_p0.8", "rosepo", {}, {"confidence": [0.8]}, 0.650957, -0.026257, 0.026257),
    ("rosepo_osp_soft_label_p0.8", "osp", {"beta": 0.1}, {"confidence": [0.8]}, 0.650957, -0.026257, 0.026257),
    ("smpo_scaled_p0.8", "smpo", {}, {"confidence": [0.8]}, 0.649159, -0.028651, 0.028651),
    ("odpo_offset1.0", "odpo", {}, {"score": [[math.e, 0.0]]}, 1.205865, -0.070057, 0.070057),  # log e = 1
    ("rationale_dpo", "rationale_dpo", {}, {"aux": {"rationale": single([-18.0])}}, 2.573935, -0.046257, 0.046257),
    ("triple_po", "triple_po", {}, {"aux": {"gold": single([-18.0], length=20)}}, 1.57826, -0.004925, 0.004925),
    ("triple_po_L", "triple_po_l", {}, {"aux": {"gold": single([-18.0], length=20)}}, 1.874077, -0.000311, 0.000249),
    ("gpo_score_pm1", "gpo", {"beta": 0.001}, {"win_prob": wins(1 / (1 + math.exp(-1)))}, 998500.625, -998.999999, 999.499997),
    ("r_dpo_length", "r_dpo", {"alpha": -0.05}, {}, 0.513015, -0.040131, 0.040131),  # there the sign of alpha is turned round
    ("upo_unified_aux", "upo_unified", {}, {"aux_adv": [[0.5, -0.5]]}, 0.909783, -0.062744, 0.040192),
]  # fmt: skip
IDS = [f"{there}-{name}" for there, name, *_ in VECTORS]


@pytest.mark.parametrize("there,name,parameters,fields,loss,down_w,down_l", VECTORS, ids=IDS)
def test_loss_and_gradient_equal_the_published_vectors(there, name, parameters, fields, loss, down_w, down_l):
    state = _BEFORE if name == "alpha_dpo" else State()
    for dtype, relative in ((torch.float64, 1e-8), (torch.float32, 1e-5)):
        found, gradient = loss_and_gradient(make(name, **parameters), batch(dtype=dtype, **fields), state)
        assert found.item() == pytest.approx(loss, abs=1e-6, rel=relative)
        assert gradient[0].tolist() == pytest.approx([down_w, down_l], abs=1e-6, rel=relative)


def test_the_table_is_the_shared_one(shared_data):
    pair = json.loads((shared_data.parent / "reference" / "objective_vectors.json").read_text())["pair"]
    for there, _, _, _, *numbers in VECTORS:
        assert numbers == [pair[there]["A"][key] for key in ("loss", "dloss_dpi_w", "dloss_dpi_l")], there
    left = set(pair) - {row[0] for row in VECTORS}
    assert left == {
        *("sft_sum", "orpo_or_term", "exo_pref_authors", "simple_unlikelihood_anchor_dpop"),  # forms not shipped
        "dno_regression_p0.8",  # as rosepo and osp; a difference of win rates cannot reach p = 0.8
        *("kto_desirable_kl0.25", "kto_undesirable_kl0.25"),  # one-sided: test_objectives_sided.py
        *("apo_zero_unpaired_desirable", "apo_zero_unpaired_undesirable"),
    }


def test_the_odds_ratio_alone_is_orpo_without_imitation():
    assert loss_and_gradient(make("orpo", weight=1.0), batch())[0].item() - 0.6 == pytest.approx(0.693147, abs=1e-6)


def test_ld_dpo_equals_its_vector():
    """`online.ld_dpo`: the rejected answer's first 20 tokens sum to -12 and its last 5 to -3; reference: -11.7 and -2.8."""
    tokens, ref = torch.zeros(1, 2, 25, dtype=torch.float64), torch.zeros(1, 2, 25, dtype=torch.float64)
    tokens[0, 0, :20], tokens[0, 1, :20], tokens[0, 1, 20:] = -12 / 20, -12 / 20, -3 / 5
    ref[0, 0, :20], ref[0, 1, :20], ref[0, 1, 20:] = -13 / 20, -11.7 / 20, -2.8 / 5
    loss = make("ld_dpo")(batch(token_logp=tokens, token_ref=ref), State())[0]
    assert loss.item() == pytest.approx(0.625595, abs=1e-6)


def test_mrpo_equals_its_vector():
    """`multi_ref.mrpo`: the other reference is 1 nat below for the chosen and 0.5 above for the rejected answer."""
    refs = torch.tensor([[[-13.0, -14.5]], [[-14.0, -14.0]]], dtype=torch.float64)
    assert loss_and_gradient(make("mrpo"), batch(ref_logp=refs))[0].item() == pytest.approx(0.583012, abs=1e-6)
