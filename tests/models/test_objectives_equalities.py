"""Identities that tie the objectives together, as `reference/objectives.md` §6 lists them, and values derived by hand."""

import math
from dataclasses import replace

import pytest
import torch

from models.objectives.auxiliary import expectile
from models.objectives.batch import Answers, Need, State
from models.objectives.pieces import EXPONENT, bounded_exp, desensitised
from tests.models.objective_cases import LENGTHS, PI, REF, batch, loss_and_gradient, make, random_pairs, single, sp

EQUAL = [  # one, its parameters, fields; other, its parameters
    ("cdpo", {"label_smoothing": 0.0}, {}, "dpo", {}),
    ("robust", {"label_smoothing": 0.0}, {}, "dpo", {}),
    ("odpo", {"alpha": 0.0}, {}, "dpo", {}),
    ("odpo", {}, {"score": [[2.0, 1.0]] * 7}, "dpo", {}),  # log 1 = 0
    ("odpo", {}, {"score": [[math.nan, 1.0]] * 7}, "dpo", {}),
    ("r_dpo", {"alpha": 0.0}, {}, "dpo", {}),
    ("rosepo", {}, {"confidence": [1.0] * 7}, "dpo", {}),
    ("osp", {"beta": 0.1}, {"confidence": [1.0] * 7}, "dpo", {}),
    ("osp", {"beta": 0.1}, {"confidence": [0.9] * 7}, "cdpo", {}),
    ("dno", {"eta": 0.1}, {}, "dpo", {}),
    ("smpo", {}, {"confidence": [1.0] * 7}, "dpo", {}),
    ("upo_uncertainty", {"nll_weight": 0.0}, {"uncertainty": [0.0] * 7}, "dpo", {}),
    ("fdpo", {"divergence": "reverse_kl", "beta": 0.1}, {}, "dpo", {}),
    ("fdpo", {"divergence": "alpha", "alpha": 1e-9}, {}, "fdpo", {"divergence": "forward_kl"}),
    ("rpo", {"nll_weight": 0.0}, {}, "dpo", {}),
    ("mpo", {"preference": 1.0, "quality": 0.0, "generation": 1.0}, {}, "rpo", {}),
    ("mpo", {"preference": 0.0, "quality": 0.0}, {}, "sft", {}),
    ("ld_dpo", {"alpha": 1.0}, {}, "dpo", {}),
    ("wpo", {"beta": 0.1}, {"self_overlap": "own"}, "dpo", {}),
    ("alpha_dpo", {"alpha": 0.0}, {}, "simpo", {"beta": 2.5, "gamma_beta_ratio": 0.6}),
    ("mrpo", {}, {"ref_logp": "twice"}, "dpo", {}),
    ("rationale_dpo", {}, {"aux": {"rationale": single([1e6] * 7)}}, "dpo", {}),  # a certain rationale costs nothing
    ("bapo", {}, {}, "dpo", {}),  # the base model's answer is as likely as it was
    ("dove", {}, {}, "dpo", {}),  # both answers to the same prompt
    ("mapl", {"beta": 0.1, "intra_weight": 0.0, "inter_weight": 0.0}, {}, "dpo", {}),
    ("upo_unified", {"gamma": 0.0}, {}, "dpo", {}),
    ("upo_unified", {"gamma": 0.0, "base": "kto"}, {}, "kto", {}),
    ("upo_unified", {"gamma": 0.0, "base": "ipo"}, {}, "ipo_sum", {}),
    ("rso_hinge", {"gamma": 0.1}, {}, "hinge", {}),
    ("rso_sigmoid", {"gamma": 0.1}, {}, "dpo", {}),
    ("kto", {}, {"aux": {"mismatch": single([0.0])}}, "apo_zero", {}),
    ("apo_zero_unpaired", {}, {}, "apo_zero", {}),
    ("apo_auto", {}, {"score": [[2.0, 1.0]] * 7}, "apo_zero", {}),
    ("apo_auto", {}, {"score": [[1.0, 2.0]] * 7}, "apo_down", {}),
    ("apo_auto", {}, {"score": [[math.nan, math.nan]] * 7}, "apo_zero", {}),
    ("triple_po", {"beta": 0.1}, {"aux": {"gold": "chosen"}}, "cpo", {}),
]


@pytest.mark.parametrize("one,parameters,fields,other,others", EQUAL, ids=[f"{a[0]}-{a[3]}-{i}" for i, a in enumerate(EQUAL)])
def test_special_cases_equal_what_they_reduce_to(one, parameters, fields, other, others):
    pi, ref = random_pairs(7)
    fields = dict(fields)
    if fields.get("self_overlap") == "own":  # as likely as the policy's own samples: the weight is 1
        fields["self_overlap"] = pi
    if fields.get("ref_logp") == "twice":
        fields["ref_logp"] = [ref, ref]
    if fields.get("aux", {}).get("gold") == "chosen":
        b = batch(pi, ref)
        b = replace(b, aux=dict(b.aux) | {"gold": Answers(b.logp[:, :1], b.logp[:, :1], b.lengths[:, :1])})
    else:
        b = batch(pi, ref, **fields)
    found, wanted = loss_and_gradient(make(one, **parameters), b), loss_and_gradient(make(other, **others), batch(pi, ref))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def test_the_identities_are_not_trivial():
    for name in ("cdpo", "robust", "r_dpo", "osp", "smpo", "rpo", "ld_dpo", "mrpo", "mapl", "upo_unified", "fdpo"):
        pi, ref = random_pairs(7)
        assert not torch.allclose(make(name)(batch(pi, ref), State())[0], make("dpo")(batch(pi, ref), State())[0]), name


def test_minor_dpo_is_dpo_where_the_rejected_answer_is_above_the_reference_and_leaves_it_alone_below():
    up, down = batch([(-12.0, -13.0)]), batch([(-12.0, -20.0)])
    torch.testing.assert_close(loss_and_gradient(make("minor_dpo"), up), loss_and_gradient(make("dpo"), up))
    assert loss_and_gradient(make("minor_dpo"), down)[1][0, 1] == 0


def test_in_a_batch_of_one_the_whole_batch_objectives_are_dpo():
    for name in ("aot", "aot_unpaired", "relative_po"):
        torch.testing.assert_close(loss_and_gradient(make(name, beta=0.1), batch()), loss_and_gradient(make("dpo"), batch()))


def test_aot_matches_ranks_within_the_batch():
    """Policy margins 1, 5 and reference margins 3, -2: sorted differences are 1 - (-2) = 3 for the first pair, 5 - 3 = 2."""
    b = batch([(-10.0, -11.0), (-10.0, -15.0)], [(-10.0, -13.0), (-12.0, -10.0)])
    losses = make("aot")(b, State())[0].tolist()
    assert losses == pytest.approx([sp(-0.3), sp(-0.2)])
    # chosen ratios 0, 2 and rejected ratios 2, -5: 0 meets -5, 2 meets 2
    assert make("aot_unpaired", beta=0.1)(b, State())[0].tolist() == pytest.approx([sp(-0.5), sp(0.0)])


def test_aot_unpaired_with_unequal_numbers_compares_whole_distributions():
    """Each answer as often as it takes for both kinds to be as many: the same integral. Chosen 0, 2; rejected -1, 1, 4."""
    chosen, rejected = [2.0, 0.0], [1.0, 4.0, -1.0]
    ratio = torch.tensor([[r, 0.0] for r in chosen] + [[0.0, r] for r in rejected], requires_grad=True)
    mask = torch.tensor([[True, False]] * 2 + [[False, True]] * 3)
    some = batch([(0.0, 0.0)] * 5, [(0.0, 0.0)] * 5)
    found = make("aot_unpaired", beta=1.0)(replace(some, logp=ratio, mask=mask), State())[0]
    often = zip(sorted(chosen * 3), sorted(rejected * 2), strict=True)
    assert found.sum().item() == pytest.approx(2.5 * sum(sp(low - up) for up, low in often) / 6, rel=1e-6)
    (gradient,) = torch.autograd.grad(found.sum(), ratio)
    assert (gradient[:2, 0] < 0).all() and (gradient[2:, 1] > 0).all() and (gradient[~mask] == 0).all()
    one_kind = replace(some, logp=ratio, mask=mask & torch.tensor([True, False]))
    assert make("aot_unpaired", beta=1.0)(one_kind, State())[0].tolist() == [0.0] * 5


def test_relative_po_weighs_losses_by_how_alike_prompts_are():
    """Orthogonal prompts: weights 1 and e^(-1/0.5) before normalising. Ratios (1, -0.5) and (0, 2)."""
    b = batch([PI, (-10.0, -8.0)], [REF, (-10.0, -10.0)], prompt_emb=[[1.0, 0.0], [0.0, 3.0]])
    near, far = 1 / (1 + math.exp(-2)), math.exp(-2) / (1 + math.exp(-2))
    expected = [near * sp(-0.1 * 1.5) + far * sp(-0.1 * -1.0), near * sp(-0.1 * -2.0) + far * sp(-0.1 * 0.5)]
    losses, figures, _ = make("relative_po")(b, State())
    assert losses.tolist() == pytest.approx(expected) and figures == {"own_weight": pytest.approx(near)}
    same = batch([PI, PI], [REF, REF], prompt_emb=[[1.0, 0.0], [1.0, 0.0]])
    torch.testing.assert_close(make("relative_po")(same, State())[0], make("dpo")(same, State())[0])


def test_mapo_follows_its_formula():
    """NLL 0.6 and 1.2 a token: f(l) = x / (e^x - 1)."""
    f = [x / math.expm1(x) for x in (0.3, 0.6)]
    loss, gradient = loss_and_gradient(make("mapo"), batch([(-12.0, -30.0)]))
    assert loss.item() == pytest.approx(0.6 + 0.1 * sp(f[1] - f[0]))
    assert gradient[0, 0] < 0 < gradient[0, 1]


def test_r_dpo_lets_length_explain_part_of_a_longer_answers_win():
    """n_w - n_l = -5, alpha 0.05: beta h + alpha (n_w - n_l) = 0.15 - 0.25. A short winner pulls harder."""
    loss, gradient = loss_and_gradient(make("r_dpo"), batch())
    assert loss.item() == pytest.approx(sp(0.10))
    assert gradient[0, 0] < loss_and_gradient(make("dpo"), batch())[1][0, 0]


def test_bapo_pays_for_what_the_base_model_forgets_and_no_more():
    """The base answer lost 3 nats over 6 tokens: DPO + 0.5; one that gained costs nothing. Its gradient is -1/6 a nat."""
    base = single([-18.0, -10.0], -15.0, 6)
    b = batch([PI, PI], [REF, REF], aux={"base": base})
    loss, figures, _ = make("bapo")(b, State())
    assert loss.tolist() == pytest.approx([sp(-0.15) + 0.5, sp(-0.15)]) and figures == {"forgotten": pytest.approx(0.25)}
    (gradient,) = torch.autograd.grad(loss.sum(), base.logp)
    assert gradient.flatten().tolist() == pytest.approx([-1 / 6, 0.0])


def test_mapl_adds_the_answer_and_the_pair_under_the_changed_prompt():
    """There r(x', y_w) = -1, r(x', y_l) = 0.5: intra 1 - (-1) = 2, inter 1.5 - (-1.5) = 3."""
    changed = Answers(*(torch.tensor([row], dtype=torch.float64) for row in ((-14.0, -14.0), REF, LENGTHS)))
    loss = make("mapl", beta=0.1)(batch(aux={"reprompt": changed}), State())[0]
    assert loss.item() == pytest.approx(sp(-0.15) + sp(-0.2) + sp(-0.3))


def test_upo_unified_imitates_by_advantage_over_the_expectile():
    """Scores 1, 0 and tau 0.7: the expectile v solves 0.7 (1 - v) = 0.3 v, v = 0.7; weights e^0.3 and e^-0.7 of 12, 15 nats."""
    loss = make("upo_unified")(batch(score=[[1.0, 0.0]]), State())[0]
    assert loss.item() == pytest.approx(sp(-0.15) + 0.01 * (math.exp(0.3) * 12 + math.exp(-0.7) * 15))
    clipped = make("upo_unified", max_weight=2.0)(batch(aux_adv=[[50.0, math.nan]]), State())[0]
    assert clipped.item() == pytest.approx(sp(-0.15) + 0.01 * 2 * 12)


def test_expectile_is_the_mean_at_one_half_and_nears_the_maximum():
    values = torch.tensor([[0.0, 1.0, 5.0, math.nan], [2.0, 2.0, 2.0, 2.0]], dtype=torch.float64)
    assert expectile(values, 0.5).tolist() == pytest.approx([2.0, 2.0])
    assert expectile(values, 1 - 1e-9).tolist() == pytest.approx([5.0, 2.0])
    torch.manual_seed(0)
    values = torch.randn(50, 9, dtype=torch.float64)
    v = expectile(values, 0.8)[:, None]
    balance = 0.8 * (values - v).clamp(min=0).sum(-1) - 0.2 * (v - values).clamp(min=0).sum(-1)
    assert balance.abs().max() < 1e-12


def test_ada_dpo_takes_the_best_temperature():
    b = batch([(x - 13.0, -14.5) for x in (0.2, 1.5, 4.0, -3.0, 40.0)], [REF] * 5)
    loss = make("ada_dpo")(b, State())[0]
    taus = torch.linspace(0.1, 5.0, 20001, dtype=torch.float64)[:, None]
    h = (b.log_ratio[:, 0] - b.log_ratio[:, 1]).detach()
    best = (taus * torch.nn.functional.softplus(-h / taus) + (0.2 - math.log(2)) * taus).min(0).values
    torch.testing.assert_close(loss.detach(), best, rtol=0, atol=1e-6)


def test_mrpo_weighs_harmonically_and_clips_the_further_references():
    """1 / ref~ = 0.75 / ref_1 + 0.25 / ref_2, ref_2 clipped from -30 to 1.1 * -13 for the chosen answer."""
    refs = [[[-13.0, -14.5]], [[-30.0, -14.0]]]
    mix = [-math.log(0.75 * math.exp(13) + 0.25 * math.exp(14.3)), -math.log(0.75 * math.exp(14.5) + 0.25 * math.exp(14))]
    loss = make("mrpo", alpha=0.25)(batch(ref_logp=refs), State())[0]
    assert loss.item() == pytest.approx(sp(-0.1 * ((-12 - mix[0]) - (-15 - mix[1]))))


def test_length_desensitising_touches_the_longer_answers_tail_only():
    b = batch()
    short = desensitised(b, 0.0)
    assert short.logp[0].tolist() == pytest.approx([-12.0, -15.0 * 20 / 25])
    assert short.ref_logp[0, 0].tolist() == pytest.approx([-13.0, -14.5 * 20 / 25])


def test_bounded_exponential_is_exact_below_its_bound_and_rises_above():
    x = torch.tensor([-3.0, 10.0, EXPONENT, 300.0], dtype=torch.float64, requires_grad=True)
    y = bounded_exp(x)
    assert torch.equal(y[:3], x[:3].exp()) and y[3].item() == pytest.approx(math.exp(EXPONENT) * (301 - EXPONENT))
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert slope[3].item() == pytest.approx(math.exp(EXPONENT))


def margins(name, chosen, rejected, **parameters):
    """Gradients at these log-ratios over a reference of -100 nats."""
    return loss_and_gradient(make(name, **parameters), batch([(chosen - 100, rejected - 100)], [(-100.0, -100.0)]))[1][0]


@pytest.mark.parametrize(
    "name,optimum",
    [
        ("ipo_sum", 5.0),  # 1 / (2 tau)
        ("cdpo", math.log(9) / 0.1),  # s(beta h) = 1 - eps
        ("osp", math.log(4)),  # s(beta h) = 0.8, at beta 1
        ("rosepo", math.log(4) / 0.1),
        ("exo", math.log(999) / 0.1),  # q = 1 - eps
        ("discopop", -0.12),  # a local minimum, at beta 1
    ],
)
def test_the_gradient_turns_at_the_best_margin(name, optimum):
    step = min(0.5, abs(optimum) / 2)
    for h, side in ((optimum - step, -1), (optimum + step, 1)):
        gradient = margins(name, h / 2, -h / 2)
        assert gradient[0] * side > 0 > gradient[1] * side


@pytest.mark.parametrize("name,chosen", [("sppo_hard", 5.0), ("nca", 10 * math.log(2))])  # 1 / (2 beta); s(beta r) = 2/3
def test_the_chosen_answers_gradient_turns_at_its_own_best(name, chosen):
    assert margins(name, chosen - 0.5, 0.0, beta=0.1)[0] < 0 < margins(name, chosen + 0.5, 0.0, beta=0.1)[0]


def test_other_targets():
    win = [[[0.5, 0.9], [0.1, 0.5]]]
    for name, target in (("sppo_soft", 4.0), ("gpo", math.log(9) / 0.1)):  # (P - 1/2) / beta; logit P / beta
        b = batch([(-100 + target, -100 - target)], [(-100.0, -100.0)], win_prob=win)
        assert loss_and_gradient(make(name), b)[1].abs().max() < 1e-9
    wide = margins("ipo_mean", 20 * 6.0, 0.0)  # 5 nats a token
    assert margins("ipo_mean", 20 * 4.0, 0.0)[0] < 0 < wide[0]
    # Cal-DPO: the logistic term pulls on past the target, by less than one nat's worth
    assert margins("cal_dpo", 5.0, 0.0)[0] < 0 < margins("cal_dpo", 6.0, 0.0)[0]
    for below, above in ((0.0, 0.075), (0.069, 0.1)):  # uphill from the reference to 0.072
        assert margins("discopop", below, 0.0)[0] > 0 > margins("discopop", above, 0.0)[0]


def test_upo_uncertainty_softens_with_doubt_and_its_likelihood_term_pulls_up():
    """No idea (B = log 2) is eps = 1/2: the loss is least at h = 0, where only 12/20, the likelihood, is left to gain."""
    sure, lost = [0.0], [math.log(2)]
    loss, gradient = loss_and_gradient(make("upo_uncertainty"), batch(ref=[PI], uncertainty=lost))
    assert loss.item() == pytest.approx(math.log(2) + 0.6)
    assert gradient[0].tolist() == pytest.approx([-1 / 20, 0.0])
    assert make("upo_uncertainty")(batch(uncertainty=sure), State())[0].item() == pytest.approx(sp(-0.15) + 0.6)
    assert make("upo_uncertainty")(batch(uncertainty=[9.0]), State())[1] == {"label_smoothing": pytest.approx(0.5)}


def test_certain_answers_stay_finite_without_a_reference():
    """A model that is sure of every token has mean log-probability 0, where the odds have no bound."""
    for name in ("orpo", "mapo", "simpo", "cpo", "slic"):
        for pi in ((0.0, -15.0), (-12.0, 0.0), (0.0, 0.0)):
            loss, gradient = loss_and_gradient(make(name), batch([pi], dtype=torch.float32))
            assert loss.isfinite().all() and gradient.isfinite().all()


@pytest.mark.parametrize("divergence", ["forward_kl", "js", "alpha"])
def test_fdpo_pulls_the_right_way_however_far_out(divergence):
    for ratios in ((-200.0, 0.0), (0.0, -30.0), (-60.0, 60.0), (30.0, 30.0)):
        gradient = margins("fdpo", *ratios, divergence=divergence)
        assert gradient[0] <= 0 <= gradient[1]
    assert margins("fdpo", -200.0, 0.0, divergence=divergence)[0] < 0


@pytest.mark.parametrize(
    "name,key,logp,slope",
    [
        ("rationale_dpo", "rationale", -18.0, -0.1 / (1 + math.exp(-1.8))),  # -gamma s(-gamma logp)
        ("triple_po", "gold", -18.0, -1 / 20),
        ("triple_po_l", "gold", -18.0, -1 / 20),
    ],
)
def test_further_answers_are_learnt(name, key, logp, slope):
    further = single([logp], length=20)
    loss = make(name)(batch(aux={key: further}), State())[0]
    assert torch.autograd.grad(loss.sum(), further.logp)[0].item() == pytest.approx(slope)


def test_what_an_instance_needs_may_exceed_its_class():
    assert Need.MISMATCH in make("upo_unified", base="kto").needs and Need.MISMATCH not in make("upo_unified").needs
    assert Need.WIN_PROBABILITIES in make("dno", practical=False).needs and Need.WIN_PROBABILITIES not in make("dno").needs
