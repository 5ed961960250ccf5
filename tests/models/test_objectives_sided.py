"""Objectives that judge each answer by itself: APO, KTO, BCO; and the state of those that carry one."""

import json
import math
from dataclasses import asdict, replace

import pytest
import torch

from models.objectives.adaptive import DECAY
from models.objectives.batch import Answers, Batch, State
from models.objectives.wrappers import nll_anchor
from tests.models.objective_cases import PI, REF, batch, loss_and_gradient, make, random_pairs, single


def one_answer(side, z=0.0):
    """A single labelled answer a prompt: K = 1."""
    column = [[x[side]] for x in (PI, REF)]
    logp, ref = (torch.tensor([c], dtype=torch.float64) for c in column)
    label = torch.tensor([[1.0 - 2.0 * side]], dtype=torch.float64)
    return Batch(logp.requires_grad_(), torch.tensor([[20 + 5 * side]]), ref[None], label, aux={"mismatch": single([z])})


@pytest.mark.parametrize(
    "name,side,loss,gradient",
    [
        ("kto", 0, 0.481259, -0.024965),  # the shared vectors' one-sided rows, z = 0.25
        ("kto", 1, 0.481259, 0.024965),
        ("apo_zero_unpaired", 0, 0.475021, -0.024938),
        ("apo_zero_unpaired", 1, 0.487503, 0.024984),
        # alone, delta is the answer's own beta r, and the loss log 2; the gradient is -beta/2 and beta/2
        ("bco", 0, math.log(2), -0.05),
        ("bco", 1, math.log(2), 0.05),
    ],
)
def test_unpaired_objectives_take_single_answers(name, side, loss, gradient):
    found, slope = loss_and_gradient(make(name), one_answer(side, 0.25))
    assert (found.item(), slope.item()) == pytest.approx((loss, gradient), abs=1e-6)


@pytest.mark.parametrize("name,anchor", [("sft", 0.0), ("kto", 0.0), ("kto", 0.5), ("bco", 0.5), ("apo_zero_unpaired", 0.5)])
def test_an_answer_that_is_not_there_has_neither_loss_nor_slope(name, anchor):
    """Its length is 0, which divides nothing: a NaN there would reach every weight through whatever it is summed with."""
    objective = nll_anchor(make(name), anchor)
    b = replace(batch([(-12.0, 0.0), PI], [(-13.0, 0.0), REF]), mask=torch.tensor([[True, False], [True, True]]))
    b = replace(b, lengths=torch.tensor([[20, 0], [20, 25]]))
    loss, gradient = loss_and_gradient(objective, b)
    assert loss.isfinite().all() and gradient.isfinite().all() and gradient[0, 1] == 0 > gradient[0, 0]


def test_at_the_reference_losses_are_the_known_constants():
    known = {"dpo": math.log(2), "apo_zero": 1.0, "apo_down": 1.0, "kto": 1.0, "apo_zero_unpaired": 1.0, "bco": math.log(4)}
    for name, value in known.items():
        loss, _ = loss_and_gradient(make(name), batch(ref=[PI]))
        assert loss.item() == pytest.approx(value, abs=1e-12)


def test_apo_down_leaves_the_chosen_answer_exactly_alone_at_the_reference():
    _, gradient = loss_and_gradient(make("apo_down"), batch(ref=[PI], dtype=torch.float32))
    assert gradient[0, 0].item() == 0.0
    assert gradient[0, 1].item() == pytest.approx(0.1 / 4)


def test_apo_down_pushes_the_chosen_answer_down_once_the_margin_exceeds_its_reward():
    _, wide = loss_and_gradient(make("apo_down"), batch([(-10.0, -25.0)], [(-12.0, -15.0)]))
    _, narrow = loss_and_gradient(make("apo_down"), batch([(-7.0, -11.0)], [(-12.0, -15.0)]))
    assert wide[0, 0] > 0 > narrow[0, 0]
    assert wide[0, 1] > 0 and narrow[0, 1] > 0


def test_apo_zero_moves_the_two_answers_independently():
    _, one = loss_and_gradient(make("apo_zero"), batch())
    _, other = loss_and_gradient(make("apo_zero"), batch([(-12.0, -40.0)]))
    assert one[0, 0] == other[0, 0] < 0 < other[0, 1] < one[0, 1]


def test_dpo_constrains_the_difference_only():
    _, gradient = loss_and_gradient(make("dpo"), batch([(-40.0, -60.0), PI], [(-13.0, -14.5), REF]))
    assert torch.equal(gradient[:, 0], -gradient[:, 1])


def test_kto_divergence_is_clamped_at_zero_reported_and_carries_no_gradient():
    def with_z(z):
        return make("kto")(batch(aux={"mismatch": single([z - 9, z - 9], ref=-9.0)}), State())

    assert torch.equal(with_z(-3.0)[0], with_z(0.0)[0]) and with_z(-3.0)[1] == with_z(0.0)[1] == {"kl": 0.0}
    assert with_z(0.25)[1] == {"kl": pytest.approx(0.25)} and not torch.equal(with_z(0.25)[0], with_z(0.0)[0])
    other = Answers(torch.ones(1, 2, requires_grad=True), torch.zeros(1, 2), torch.ones(1, 2))
    make("kto")(batch(aux={"mismatch": other}), State())[0].sum().backward()
    assert other.logp.grad is None


def test_kto_weights_scale_their_own_side():
    plain, weighted = (make("kto", **w) for w in ({}, {"desirable_weight": 2.0, "undesirable_weight": 0.5}))
    _, before = loss_and_gradient(plain, batch())
    _, after = loss_and_gradient(weighted, batch())
    assert (after / before)[0].tolist() == pytest.approx([2.0, 0.5])


def test_bco_delta_is_the_mean_over_all_rewards_so_far():
    """Rewards of the two batches: 0.1, -0.05, then 0.2, 0.4: means 0.025 and 0.1625."""
    objective = make("bco")
    _, first, state = objective(batch(), State())
    _, second, state = objective(batch([(-11.0, -10.5)]), state)
    assert (first["delta"], second["delta"]) == pytest.approx((0.025, 0.1625))
    assert (state.count, state.mean) == (4, pytest.approx(0.1625))


def test_apo_auto_chooses_by_the_policys_running_mean_score():
    """The policy's own scores are 1, 3 and then 5, 7: running means 2, then 4."""
    objective = make("apo_auto")
    pairs = ([PI, PI], [REF, REF])
    zero, down = (make(name)(batch(), State())[0].item() for name in ("apo_zero", "apo_down"))
    first, figures, state = objective(batch(*pairs, score=[[2.5, 1.0], [1.5, 3.0]]), State())
    assert first.tolist() == pytest.approx([zero, down])
    assert figures == {"share_zero": 0.5, "policy_score": 2.0}
    second, figures, state = objective(batch(*pairs, score=[[3.5, 5.0], [math.nan, 7.0]]), state)
    assert second.tolist() == pytest.approx([down, zero])  # 3.5 would have beaten 2; an unknown score is zero
    assert figures == {"share_zero": 0.5, "policy_score": 4.0} and state.count == 4
    # with both answers the policy's, the mean is over both
    assert make("apo_auto", own="both")(batch(*pairs, score=[[2.0, 1.0], [3.0, 2.0]]), State())[1]["policy_score"] == 2.0


def test_apo_auto_survives_scores_that_are_all_unknown():
    loss, figures, state = make("apo_auto")(batch(score=[[math.nan, math.nan]]), State())
    assert loss.isfinite().all() and figures == {"share_zero": 1.0, "policy_score": 0.0} and state == State()


def test_alpha_dpo_statistics_are_right_from_the_first_batch_on():
    """Against weights DECAY^(n - i) on each pair's first and second moments, normalised."""
    objective, state, gaps = make("alpha_dpo"), State(), []
    for seed in range(5):
        b = batch(*random_pairs(4, seed))
        gaps.append(((b.log_ratio / b.lengths)[:, 0] - (b.log_ratio / b.lengths)[:, 1]).detach())
        state = objective(b, state)[2]
        weight = torch.tensor([DECAY**i for i in reversed(range(len(gaps)))], dtype=torch.float64)[:, None].expand(-1, 4)
        weight, values = weight / weight.sum(), torch.stack(gaps)
        mean = (weight * values).sum()
        assert state.mean == pytest.approx(mean.item())
        assert state.variance == pytest.approx((weight * (values - mean).square()).sum().item())
    z = (gaps[0] - gaps[0].mean()) / gaps[0].std(correction=0)
    assert z.std(correction=0) == pytest.approx(1.0)  # and so early margins are alpha wide, not ten times that
    assert objective(batch(*random_pairs(4, 0)), State())[1]["margin"] == pytest.approx(0.6)


@pytest.mark.parametrize("name", ["bco", "alpha_dpo", "apo_auto"])
def test_state_goes_in_and_comes_out_and_a_resumed_run_is_the_same(name):
    torch.manual_seed(0)
    objective = make(name)
    batches = [(random_pairs(4, seed), torch.rand(4, 2).tolist()) for seed in range(6)]

    def run(state, some):
        losses = []
        for pairs, score in some:
            loss, _, state = objective(batch(*pairs, score=score), state)
            losses += loss.tolist()
        return losses, state

    whole, end = run(State(), batches)
    first, middle = run(State(), batches[:3])
    middle = State(**json.loads(json.dumps(asdict(middle))))  # as a checkpoint would keep it
    second, resumed = run(middle, batches[3:])
    assert first + second == whole and resumed == end
    forgetful, _ = run(State(), batches[3:])  # negative control: the state matters
    assert forgetful != second
    assert run(State(), batches) == (whole, end)  # and nothing is kept inside
