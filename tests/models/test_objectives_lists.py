"""Objectives on ranked lists, against shared and hand-derived values, and against the identities that tie them to DPO.

Derivations stand beside the numbers. z is the log-ratio of an answer, sp(x) = log(1 + e^x).
"""

import dataclasses
import itertools
import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.errors import PlumblineError
from models.objectives.batch import Batch, Need, State
from models.objectives.list_registry import LISTS
from tests.models.objective_cases import make, sp

torch.set_num_threads(1)

RANKED = [name for name in LISTS if not Need.ON_POLICY & LISTS[name].needs and name not in ("spo_degree", "tree_po")]
Z, SCORES = (0.2, 1.0, -0.5), (0.9, 0.5, 0.1)
NAN = float("nan")
SHARED = {  # name in objective_vectors.json: objective, its parameters
    "plackett_luce_dpo": ("plackett_luce", {"beta": 0.1}),
    "lipo_lambda_gain_2^psi-1": ("lipo", {"beta": 0.1}),
    "lipo_lambda_gain_2psi-1": ("lipo", {"beta": 0.1, "gain": "linear"}),
    "rankdpo_text": ("rankdpo", {"beta": 0.1}),
    "all_pairs_dpo_mean": ("all_pairs_dpo", {"beta": 0.1}),
    "pro": ("pro", {"sft_weight": 0.05}),
    "irpo_in_context_ranking": ("irpo", {"beta": 0.1}),
    "exo_rw": ("exo_rw", {"beta": 0.1, "temperature": 0.5}),
    "dpo_rw_infonca": ("infonca", {"beta": 0.1, "temperature": 0.5}),
}


def lists(z, scores=None, *, ref=None, lengths=None, mask=None, dtype=torch.float64):
    """Log-ratios `z` [B][K] over a reference of -30 nats, or over `ref`."""
    z = torch.tensor(z, dtype=dtype)
    ref = torch.full_like(z, -30.0) if ref is None else torch.tensor(ref, dtype=dtype)
    return Batch(
        (z + ref).requires_grad_(),
        torch.ones(z.shape, dtype=torch.long) if lengths is None else torch.tensor(lengths),
        ref[None],
        score=None if scores is None else torch.tensor(scores, dtype=dtype),
        mask=None if mask is None else torch.tensor(mask),
    )


def loss_and_gradient(objective, b):
    loss, figures, _ = objective(b, State())
    assert loss.shape == b.logp.shape[:1] and all(isinstance(v, float) for v in figures.values())
    (gradient,) = torch.autograd.grad(loss.sum(), b.logp)
    return loss.detach(), gradient


def permuted(b, order):
    def move(x, axis):
        return None if x is None else x.index_select(axis, torch.tensor(order))

    logp = move(b.logp.detach(), 1).requires_grad_()
    return dataclasses.replace(b, logp=logp, lengths=move(b.lengths, 1), ref_logp=move(b.ref_logp, 2),
                               score=move(b.score, 1), mask=move(b.mask, 1))  # fmt: skip


@pytest.mark.parametrize("vector", SHARED)
def test_losses_equal_the_shared_vectors(shared_data, vector):
    shared = json.loads((shared_data.parent / "reference" / "objective_vectors.json").read_text())["list"]
    assert set(shared["objectives"]) == set(SHARED) and tuple(shared["inputs"]["logratios"]) == Z
    name, parameters = SHARED[vector]
    given = shared["objectives"][vector]
    if name == "pro":
        m = given["params"]["mean_logps"]
        b = lists([[4 * x for x in m]], [given["params"]["rewards"]], ref=[[0.0] * 3], lengths=[[4] * 3])
    else:
        b = lists([Z], [shared["inputs"]["labels"]])
    assert loss_and_gradient(make(name, **parameters), b)[0].item() == pytest.approx(given["loss"], abs=1e-6)


def test_losses_equal_values_derived_by_hand():
    # beta 0.1, z (0.2, 1.0, -0.5): beta z = (0.02, 0.10, -0.05).
    # s_dpo: log(e^(0.10 - 0.02) + e^(-0.05 - 0.02)) = log(1.0832871 + 0.9323938) = 0.7009570; sp = log(1 + 2.0156809) = 1.1038257
    assert _loss("s_dpo", beta=0.1) == pytest.approx(math.log(1 + math.exp(0.08) + math.exp(-0.07)), abs=1e-12)
    assert _loss("s_dpo", beta=0.1) == pytest.approx(1.103826, abs=1e-6)
    # ranklist, skip 2: neighbours sp(0.08) + sp(-0.15), two apart sp(-0.07) / 2; with skip 1 only the neighbours
    assert _loss("ranklist", beta=0.1, skip=2) == pytest.approx(sp(0.08) + sp(-0.15) + sp(-0.07) / 2, abs=1e-12)
    assert _loss("ranklist", beta=0.1, skip=1) == pytest.approx(sp(0.08) + sp(-0.15), abs=1e-12)
    # multi-similarity, a 2, margin 1, all hard: (1/2) log(1 + e^(-2 (-0.08 - 1)) + e^(-2 (0.07 - 1)))
    hard = math.log(1 + math.exp(2.16) + math.exp(1.86)) / 2
    assert _loss("multi_similarity", beta=0.1, mining=0.1) == pytest.approx(hard, abs=1e-12)
    # … and mining at 0.05 leaves the second rejected answer, 0.07 below, out
    assert _loss("multi_similarity", beta=0.1, mining=0.05) == pytest.approx(math.log(1 + math.exp(2.16)) / 2, abs=1e-12)
    # spo_degree: chosen 0.02, rejected 0.10, one degradation -0.05: sp(0.08) + w sp(-0.07) / 1
    assert _loss("spo_degree", beta=0.1, weight=0.3) == pytest.approx(sp(0.08) + 0.3 * sp(-0.07), abs=1e-12)


def _loss(name, z=Z, scores=SCORES, **parameters):
    return loss_and_gradient(make(name, **parameters), lists([z], [scores]))[0].item()


def test_spo_degree_averages_over_the_degradations_that_are_there():
    # chosen 2, rejected 0, degradations 1 and -1 at beta 1: Plackett-Luce of (2, 1, -1) = log(1 + e^-1 + e^-3) + sp(-2), halved
    two = math.log(1 + math.exp(-1) + math.exp(-3)) + sp(-2)
    objective = make("spo_degree", beta=1.0, weight=1.0)
    b = lists([[2.0, 0.0, 1.0, -1.0]] * 2, mask=[[True] * 4, [True, True, True, False]])
    assert loss_and_gradient(objective, b)[0].tolist() == pytest.approx([sp(-2) + two / 2, sp(-2) + sp(-1)], abs=1e-12)


def test_answers_with_equal_scores_share_a_place_in_ranklist():
    # places 0, 1, 1, 2: the last answer is a neighbour of both tied ones, and two places below the first
    z, scores = (3.0, 1.0, 2.0, 0.0), (9.0, 5.0, 5.0, 1.0)
    neighbours = sp(-2) + sp(-1) + sp(-1) + sp(-2)
    assert _loss("ranklist", z, scores, beta=1.0, skip=1) == pytest.approx(neighbours, abs=1e-12)
    assert _loss("ranklist", z, scores, beta=1.0, skip=2) == pytest.approx(neighbours + sp(-3) / 2, abs=1e-12)


@pytest.mark.parametrize("name", ["plackett_luce", "s_dpo", "all_pairs_dpo", "ranklist"])
def test_with_two_answers_they_are_dpo(name):
    z = torch.randn(9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 20
    for scores in (None, [[3.0, 1.0]] * 9):
        loss, gradient = loss_and_gradient(make(name, beta=0.3), lists(z.tolist(), scores))
        torch.testing.assert_close(loss, -torch.nn.functional.logsigmoid(0.3 * (z[:, 0] - z[:, 1])))
        torch.testing.assert_close(gradient[:, 0], -0.3 * torch.sigmoid(-0.3 * (z[:, 0] - z[:, 1])))


@pytest.mark.parametrize("name", ["lipo", "rankdpo"])
def test_with_two_answers_lambda_losses_are_proportional_to_dpo(name):
    # |2^0.9 - 2^0.1| |1/log 2 - 1/log 3|, whichever of the two the policy ranks first
    factor = (2**0.9 - 2**0.1) * (1 / math.log(2) - 1 / math.log(3))
    for z in ([0.5, 3.0], [3.0, 0.5], [1.0, 1.0], [-40.0, 40.0]):
        assert _loss(name, z, (0.9, 0.1), beta=0.2) == pytest.approx(factor * sp(-0.2 * (z[0] - z[1])), rel=1e-12)


def test_irpo_with_two_answers_is_dpo_weighted_by_relevance():
    # N = 2: (1/2)[(2^1 - 1)/log2(2) sp(-b d) + 0], d of means over 4 tokens
    b = lists([[6.0, 2.0]], [[1.0, 0.0]], lengths=[[4, 4]])
    assert loss_and_gradient(make("irpo", beta=1.0), b)[0].item() == pytest.approx(sp(-1.0) / 2, abs=1e-12)


def test_pro_with_two_answers_is_a_logistic_loss_of_the_scaled_means_plus_imitation():
    # T = r1 - r2 = 2: log(e^(2 m1) + e^(2 m2)) - 2 m1 = sp(-2 (m1 - m2)); imitation 0.05 * 1^2 * 0.5
    b = lists([[-5.0, -8.0]], [[3.0, 1.0]], ref=[[0.0, 0.0]], lengths=[[10, 10]])
    assert loss_and_gradient(make("pro"), b)[0].item() == pytest.approx(sp(-2 * 0.3) + 0.05 * 0.5, abs=1e-12)


def test_exo_and_infonca_pull_towards_the_scores_from_either_side():
    # Where beta z equals score / temperature up to a constant, p = q: exo is 0 and infonca the entropy of q, both stationary.
    z = [[4 * s + 7 for s in SCORES]]
    q = torch.tensor(SCORES, dtype=torch.float64).div(0.5).softmax(0)
    for name, least in (("exo_rw", 0.0), ("infonca", -(q * q.log()).sum().item())):
        loss, gradient = loss_and_gradient(make(name, beta=0.5, temperature=0.5), lists(z, [SCORES]))
        assert loss.item() == pytest.approx(least, abs=1e-12) and gradient.abs().max() < 1e-12
        assert _loss(name) > least + 1e-3


def test_a_sharp_target_turns_infonca_into_s_dpo():
    assert _loss("infonca", beta=0.1, temperature=1e-3) == pytest.approx(_loss("s_dpo", beta=0.1), abs=1e-9)


@pytest.mark.parametrize("name", [n for n in RANKED if n not in ("multi_similarity",)])
@pytest.mark.parametrize("scores", [(1.0, 0.6, 0.3, 0.0), (0.3, 1.0, 0.0, 0.6)])
def test_at_the_reference_the_best_answer_goes_up_and_the_worst_down(name, scores):
    b = lists([[0.0] * 4], [scores], lengths=[[10, 10, 10, 10]])
    _, gradient = loss_and_gradient(make(name), b)
    by_score = gradient[0][torch.tensor(scores).argsort(descending=True)]
    assert by_score[0] < 0 < by_score[-1]
    if name != "pro":  # its imitation term lifts the best answer besides
        assert gradient.sum().item() == pytest.approx(0, abs=1e-12)  # only differences count


def test_multi_similarity_lifts_the_best_and_pushes_hard_negatives_only():
    _, gradient = loss_and_gradient(make("multi_similarity"), lists([[0.0, 1.0, -5.0, 0.0]], [[3.0, 2.0, 1.0, 0.0]]))
    assert gradient[0, 0] < 0 and gradient[0, 1] > gradient[0, 3] > 0 and gradient[0, 2] == 0  # the hardest most
    assert make("multi_similarity")(lists([[0.0, 1.0, -5.0, 0.0]]), State())[1] == {"hard_share": pytest.approx(2 / 3)}


def test_lipo_weighs_by_the_policys_ranks_and_rankdpo_by_the_labels():
    # The two lists differ in how the policy ranks the first two answers, which changes only lipo's weights.
    near, far = ([0.1, 0.0, -9.0], [0.0, 0.1, -9.0])
    ratio = {n: _loss(n, near, beta=1e-9) / _loss(n, far, beta=1e-9) for n in ("lipo", "rankdpo")}
    assert ratio["rankdpo"] == pytest.approx(1, abs=1e-6) and abs(ratio["lipo"] - 1) > 1e-3


def test_lambda_weights_carry_no_gradient():
    # At fixed ranks lipo's gradient is that of fixed weights: differences in z too small to change a rank.
    b = lists([[0.3, 0.1, -0.2]], [SCORES])
    _, gradient = loss_and_gradient(make("lipo", beta=0.7), b)
    step = 1e-6
    for k in range(3):
        moved = [[x + step * (i == k) for i, x in enumerate((0.3, 0.1, -0.2))] for step in (step, -step)]
        up, down = (loss_and_gradient(make("lipo", beta=0.7), lists([m], [SCORES]))[0].item() for m in moved)
        assert gradient[0, k].item() == pytest.approx((up - down) / (2 * step), abs=1e-8)


@pytest.mark.parametrize("name", [*RANKED, "spo_degree"])
def test_gradients_equal_finite_differences(name):
    b = lists(
        [[0.3, -1.1, 2.0, 0.7], [5.0, 1.0, 3.0, -2.0]], [[0.9, 0.2, 0.5, NAN], [0.1, 0.2, 0.3, 0.4]], lengths=[[7, 3, 5, 2]] * 2
    )
    objective = make(name)
    assert torch.autograd.gradcheck(lambda logp: objective(dataclasses.replace(b, logp=logp), State())[0], b.logp)


@pytest.mark.parametrize("name", RANKED)
def test_order_of_storage_does_not_matter(name):
    # with a tie, a missing score and equal log-ratios, where an order by position would show
    b = lists([[0.3, -1.1, 0.3, 0.3, 2.0]], [[0.2, 0.9, 0.5, 0.5, NAN]], lengths=[[7, 3, 5, 2, 4]])
    loss, gradient = loss_and_gradient(make(name), b)
    for order in itertools.islice(itertools.permutations(range(5)), 0, 120, 7):
        found = loss_and_gradient(make(name), permuted(b, order))
        torch.testing.assert_close(found[0], loss)
        torch.testing.assert_close(found[1], gradient[:, list(order)])


@pytest.mark.parametrize("name", [*RANKED, "spo_degree"])
@pytest.mark.parametrize("how", ["mask", "nan"])
def test_padding_reaches_neither_loss_nor_gradient(name, how):
    if name == "spo_degree" and how == "nan":
        pytest.skip("its answers have roles and not scores")
    z, scores, lengths = [0.4, -0.2, 0.1], [0.9, 0.5, 0.1], [9, 4, 6]
    plain = loss_and_gradient(make(name), lists([z], [scores], lengths=[lengths]))
    for junk in (0.0, 170.0, -170.0, NAN, float("inf"), float("-inf")):
        padded = lists([[*z, junk, junk]], [[*scores, *([NAN] * 2 if how == "nan" else [5.0, -5.0])]], lengths=[[*lengths, 0, 0]],
                       mask=[[True] * 3 + [False] * 2] if how == "mask" else None)  # fmt: skip
        loss, gradient = loss_and_gradient(make(name), padded)
        torch.testing.assert_close(loss, plain[0])
        torch.testing.assert_close(gradient, torch.nn.functional.pad(plain[1], (0, 2)))


@pytest.mark.parametrize("name", RANKED)
def test_lists_without_a_comparison_teach_nothing(name):
    for scores in ([NAN, NAN, NAN], [NAN, 0.5, NAN]):
        loss, gradient = loss_and_gradient(make(name), lists([[0.4, 3.0, -1.0]], [scores]))
        assert loss.isfinite().all() and gradient.isfinite().all()
        if name != "irpo":
            assert not gradient.any()
    if name not in ("exo_rw", "infonca", "irpo", "pro"):  # these take equal scores as a wish for equal likelihoods, or imitate
        loss, gradient = loss_and_gradient(make(name), lists([[0.4, 3.0, -1.0]], [[0.5, 0.5, 0.5]]))
        assert loss.item() == 0 and not gradient.any()


@pytest.mark.parametrize("name", [*RANKED, "spo_degree"])
def test_finite_two_hundred_nats_from_the_reference(name):
    for z in itertools.product((-200.0, 0.0, 200.0), repeat=3):
        for beta in ({}, {"beta": 5.0}):
            objective = make(name, **({} if name == "pro" else beta))
            b = lists([z], [[1.0, 0.5, 0.0]], ref=[[-300.0] * 3], dtype=torch.float32)
            loss, gradient = loss_and_gradient(objective, b)
            assert loss.isfinite().all() and gradient.isfinite().all()
            assert gradient.norm().isfinite()


@pytest.mark.parametrize("name", ["s_dpo", "plackett_luce", "lipo", "all_pairs_dpo", "rankdpo", "ranklist"])
def test_a_hopeless_list_still_pulls_with_full_force(name):
    _, gradient = loss_and_gradient(make(name, beta=1.0), lists([[-200.0, 0.0, 200.0]], [[1.0, 0.5, 0.0]], dtype=torch.float32))
    assert gradient[0, 0] < -0.05 and gradient[0, 2] > 0.05


@pytest.mark.parametrize("name", RANKED)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_examples_are_independent_and_constants_cancel(name, data):
    k = data.draw(st.integers(2, 6))
    # quarters of a nat, and mining between them, so that rounding neither merges two log-ratios nor moves one over a threshold
    values = st.lists(st.integers(-240, 240).map(lambda n: n / 4), min_size=k, max_size=k)
    objective = make(name, **({"mining": 0.09} if name == "multi_similarity" else {}))
    levels = st.lists(st.sampled_from([0.0, 0.1, 0.4, 0.5, 0.9, 1.0, NAN]), min_size=k, max_size=k)
    z, scores = ([data.draw(s), data.draw(s)] for s in (values, levels))
    lengths = [[5] * k] * 2  # equal lengths, so that a constant in the sums is one in the means
    both = loss_and_gradient(objective, lists(z, scores, lengths=lengths))
    assert all(x.isfinite().all() for x in both)
    for row in range(2):
        alone = loss_and_gradient(objective, lists(z[row : row + 1], scores[row : row + 1], lengths=lengths[:1]))
        torch.testing.assert_close(alone[0], both[0][row : row + 1])
        torch.testing.assert_close(alone[1], both[1][row : row + 1])
    if name != "pro":  # which imitates
        shifted = loss_and_gradient(objective, lists([[x + 8 for x in row] for row in z], scores, lengths=lengths))
        torch.testing.assert_close(shifted[0], both[0], rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(both[1].sum(-1), torch.zeros(2, dtype=torch.float64), atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", [n for n in RANKED if n not in ("irpo", "exo_rw", "infonca", "multi_similarity", "pro")])
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_a_wider_gap_in_the_right_order_never_costs_more(name, data):
    z = data.draw(st.lists(st.floats(-20, 20), min_size=4, max_size=4, unique=True))
    z = sorted((round(x, 3) for x in z), reverse=True)
    loss, wider = (loss_and_gradient(make(name), lists([[f * x for x in z]], [[1.0, 0.7, 0.4, 0.0]]))[0] for f in (1.0, 1.5))
    assert wider <= loss + 1e-12


@pytest.mark.parametrize("name", RANKED)
def test_descent_from_the_reference_finds_the_order(name):
    # free log-ratios of five answers, one without a score; means are over 5 tokens
    scores = [[0.4, 1.0, NAN, 0.0, 0.7]]
    b = lists([[0.0] * 5], scores, lengths=[[5] * 5], ref=[[-30.0] * 5])
    logp = b.logp.detach().requires_grad_()
    optimiser, objective = torch.optim.Adam([logp], lr=0.05), make(name)
    for _ in range(200):
        loss = objective(dataclasses.replace(b, logp=logp), State())[0].sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    order = logp[0, [1, 4, 0, 3]].tolist()
    assert logp[0, 2] == -30.0  # the one without a score stayed
    if name in ("s_dpo", "multi_similarity"):  # these only tell the best from the rest
        assert order[0] > max(order[1:]) + 0.5
    else:
        assert order == sorted(order, reverse=True) and order[0] > order[-1] + 0.5


@pytest.mark.parametrize("name", ["irpo", "lipo", "rankdpo"])
@pytest.mark.parametrize("scores", [[-1.0, 0.0, 1.0], [1.0, 2.0, 31.0]])
def test_scores_that_are_no_relevances_are_refused(name, scores):
    with pytest.raises(PlumblineError, match=f"{name} takes scores as relevances .* rescale"):
        make(name)(lists([Z], [scores]), State())
    if name == "lipo":
        assert _loss("lipo", scores=scores, gain="linear") > 0


# Trees of steps


def tree(ratio, steps, scores, weight=None, mask=None, dtype=torch.float64):
    """Token log-ratios [B][K][T] over a reference of -2 nats a token."""
    ratio = torch.tensor(ratio, dtype=dtype)
    ref = torch.full_like(ratio, -2.0)
    inside = torch.ones(ratio.shape, dtype=torch.bool) if mask is None else torch.tensor(mask)
    logp = (ratio + ref).requires_grad_()
    sums = (torch.where(inside, x, 0.0).sum(-1).detach() for x in (logp, ref))
    total, ref_total = sums
    return Batch(total, inside.sum(-1), ref_total[None], score=torch.tensor(scores, dtype=dtype), token_logp=logp, token_ref=ref,
                 token_mask=inside, step_id=torch.tensor(steps),
                 step_weight=None if weight is None else torch.tensor(weight, dtype=dtype))  # fmt: skip


STEPS = [[[0, 0, 1, 1], [0, 1, 1, 2], [0, 0, 0, 0]]]
TOKENS = [[[0.1, 0.3, -0.2, 0.4], [0.5, 0.2, 0.1, -0.3], [-0.1, 0.2, 0.2, 0.3]]]


def test_tree_po_is_lipo_of_weighted_mean_steps():
    # r: answer 0 (0.4, 0.2), answer 1 (0.5, 0.3, -0.3), answer 2 (0.6). Plain means: 0.3, 1/6, 0.6.
    loss, _, _ = make("tree_po")(tree(TOKENS, STEPS, [SCORES]), State())
    assert loss.item() == pytest.approx(_loss("lipo", (0.3, 0.5 / 3, 0.6), beta=0.5), abs=1e-12)
    # Weights of steps 2, 1 | 1, 2, 0.5 | 1: (0.8 + 0.2)/3, (0.5 + 0.6 - 0.15)/3.5, 0.6
    weight = [[[2.0, 2.0, 1.0, 1.0], [1.0, 2.0, 2.0, 0.5], [1.0] * 4]]
    loss, _, _ = make("tree_po")(tree(TOKENS, STEPS, [SCORES], weight), State())
    assert loss.item() == pytest.approx(_loss("lipo", (1 / 3, 0.95 / 3.5, 0.6), beta=0.5), abs=1e-12)


def test_tree_po_with_one_step_an_answer_is_lipo():
    loss, _, _ = make("tree_po", beta=0.3)(tree(TOKENS, [[[0] * 4] * 3], [SCORES]), State())
    assert loss.item() == pytest.approx(_loss("lipo", (0.6, 0.5, 0.6), beta=0.3), abs=1e-12)


def test_tree_po_goes_down_when_the_order_gets_better():
    # Trap T1: the published form goes up. One step down the gradient lifts the best answer and lowers the loss.
    b = tree(TOKENS, STEPS, [SCORES])
    loss, _, _ = make("tree_po")(b, State())
    (gradient,) = torch.autograd.grad(loss.sum(), b.token_logp)
    assert (gradient[0, 0] < 0).all() and (gradient[0, 2] > 0).all()
    after, _, _ = make("tree_po")(dataclasses.replace(b, token_logp=b.token_logp - 0.5 * gradient), State())
    assert after < loss


def test_tree_po_ignores_padding_of_tokens_and_answers_and_stays_finite():
    plain = tree(TOKENS, STEPS, [SCORES])
    loss, _, _ = make("tree_po")(plain, State())
    tokens = [[[*t, NAN] for t in TOKENS[0]] + [[NAN] * 5]]
    steps = [[[*s, 7] for s in STEPS[0]] + [[0] * 5]]
    padded = tree(tokens, steps, [[*SCORES, NAN]], mask=[[[True] * 4 + [False]] * 3 + [[False] * 5]])
    found, _, _ = make("tree_po")(padded, State())
    torch.testing.assert_close(found, loss)
    (gradient,) = torch.autograd.grad(found.sum(), padded.token_logp)
    (expected,) = torch.autograd.grad(loss.sum(), plain.token_logp)
    torch.testing.assert_close(gradient, torch.nn.functional.pad(expected, (0, 1, 0, 1)))
    far = tree([[[200.0] * 4, [-200.0] * 4, [0.0] * 4]], STEPS, [SCORES[::-1]], dtype=torch.float32)
    loss, _, _ = make("tree_po")(far, State())
    (gradient,) = torch.autograd.grad(loss.sum(), far.token_logp)
    assert loss.isfinite().all() and gradient.isfinite().all()
