"""Policy-gradient objectives on groups, against shared and hand-derived values and against Hugging Face TRL's own code."""

import ast
import dataclasses
import importlib.util
import json
import math
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.errors import PlumblineError
from models.objectives.advantages import centred, leave_one_out, standardised, win_fraction
from models.objectives.batch import Batch, Need, State
from models.objectives.list_registry import LISTS
from models.objectives.on_policy import clipped, k3
from tests.models.objective_cases import make

torch.set_num_threads(1)

ON_POLICY = [name for name, objective in LISTS.items() if Need.ON_POLICY & objective.needs]
NAN = float("nan")


def group(pi, old, ref, score=None, win=None, token_mask=None, mask=None, dtype=torch.float64):
    """Token log-probabilities [B][K][T] of the policy, of the one that sampled and of the reference."""
    pi, old, ref = (torch.tensor(x, dtype=dtype) for x in (pi, old, ref))
    inside = torch.ones(pi.shape, dtype=torch.bool) if token_mask is None else torch.tensor(token_mask)
    sums, ref_sums = (torch.where(inside, x, 0.0).sum(-1) for x in (pi, ref))
    if win is None and score is not None:  # for objectives that read the other field: a win matrix whose win rates are the scores
        win = [[[p] * len(row) for p in row] for row in score]
    return Batch(sums, inside.sum(-1), ref_sums[None], score=None if score is None else torch.tensor(score, dtype=dtype),
                 win_prob=None if win is None else torch.tensor(win, dtype=dtype), token_logp=pi.requires_grad_(), token_ref=ref,
                 token_old=old, token_mask=inside, mask=None if mask is None else torch.tensor(mask))  # fmt: skip


def random_group(seed, b=2, k=4, t=5, spread=0.3):
    g = torch.Generator().manual_seed(seed)
    old = -torch.rand(b, k, t, generator=g, dtype=torch.float64) * 3 - 0.5
    pi, ref = (old + spread * torch.randn(b, k, t, generator=g, dtype=torch.float64) for _ in range(2))
    length = torch.randint(1, t + 1, (b, k, 1), generator=g)
    score = torch.rand(b, k, generator=g, dtype=torch.float64)
    return group(*(x.tolist() for x in (pi, old, ref, score)), token_mask=(torch.arange(t) < length).tolist())


def loss_and_gradient(objective, b):
    loss, figures, _ = objective(b, State())
    assert loss.shape == b.logp.shape[:1] and all(isinstance(v, float) for v in figures.values())
    (gradient,) = torch.autograd.grad(loss.sum(), b.token_logp)
    return loss.detach(), gradient


@pytest.fixture(scope="module")
def online(shared_data):
    return json.loads((shared_data.parent / "reference" / "objective_vectors.json").read_text())["online"]


def test_advantages_equal_the_shared_vectors(online):
    reward = torch.tensor([online["rewards"]], dtype=torch.float64)
    here = torch.ones(1, 4, dtype=torch.bool)
    for function, key in ((standardised, "grpo_adv_std_unbiased_eps1e-4"), (centred, "dr_grpo_adv"), (leave_one_out, "rloo_adv")):
        assert function(reward, here)[0].tolist() == pytest.approx(online[key], abs=1e-6)
    wins, compared = win_fraction(torch.tensor([online["pref_grpo"]["pairwise_win_prob"]], dtype=torch.float64), here)
    assert wins[0].tolist() == pytest.approx(online["pref_grpo"]["win_rate_reward"], abs=1e-6) and compared.all()
    assert standardised(wins, here)[0].tolist() == pytest.approx(online["pref_grpo"]["adv"], abs=1e-6)


def test_grpo_equals_the_shared_token_losses(online):
    token = online["grpo_token"]
    assert math.exp(token["pi"] - token["old"]) == pytest.approx(token["ratio"], abs=1e-6)
    one = [[[[token[x]]] * 4] for x in ("pi", "old", "ref")]
    b = group(*one, [online["rewards"]])
    objective = make("grpo", clip=token["eps"], kl_weight=token["beta_kl"])
    assert loss_and_gradient(objective, b)[0].item() == pytest.approx(sum(token["loss_for_each_adv"]) / 4, abs=1e-6)
    advantage = torch.tensor(online["grpo_adv_std_unbiased_eps1e-4"], dtype=torch.float64)
    loss, _ = clipped(torch.full((4,), 0.1, dtype=torch.float64), advantage, 0.2)
    every = loss + token["beta_kl"] * k3(torch.tensor(-1.0, dtype=torch.float64), torch.tensor(-1.05, dtype=torch.float64))
    assert every.tolist() == pytest.approx(token["loss_for_each_adv"], abs=1e-6)


def test_pref_grpo_equals_grpo_on_the_shared_win_rates(online):
    shared = online["pref_grpo"]
    one = [[[[x]] * 4] for x in (-1.0, -1.1, -1.05)]
    loss = loss_and_gradient(make("pref_grpo"), group(*one, win=[shared["pairwise_win_prob"]]))
    expected = loss_and_gradient(make("grpo"), group(*one, [shared["win_rate_reward"]]))
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)


def test_losses_equal_values_derived_by_hand():
    # One prompt, two answers of 2 and 1 tokens, ratios 1.5, 0.5 | 1.1; rewards 1, 0.
    pi = [[[math.log(1.5) - 2, math.log(0.5) - 2], [math.log(1.1) - 2, 0.0]]]
    b = group(pi, [[[-2.0, -2.0]] * 2], [[[-2.0, -2.0]] * 2], [[1.0, 0.0]], token_mask=[[[True, True], [True, False]]])
    # dr_grpo: A = ±1/2; answer 0: -(min(1.5, 1.2) + min(0.5, 0.8))/2 = -0.85; answer 1: 1.1/2 = 0.55; / 10, mean of two
    assert make("dr_grpo", max_length=10)(b, State())[0].item() == pytest.approx((-0.85 + 0.55) / 20, abs=1e-12)
    # rloo: A = ±1; answer ratios 0.75 -> min(0.75, 0.8) = 0.75; 1.1: (-0.75 + 1.1)/2
    assert make("rloo")(b, State())[0].item() == pytest.approx(0.175, abs=1e-12)
    # pairwise_rl without divergence: A = ±1/2, means over tokens: (-(1.2 + 0.5)/4 + 1.1/2)/2
    assert make("pairwise_rl", kl_weight=0.0)(b, State())[0].item() == pytest.approx((-0.425 + 0.55) / 2, abs=1e-12)
    # grpo without divergence: A = ±(1/2)/(sqrt(1/2) + 1e-4): pairwise_rl's with that A instead of 1/2
    scale = 1 / (math.sqrt(0.5) + 1e-4)
    assert make("grpo", kl_weight=0.0)(b, State())[0].item() == pytest.approx(0.0625 * scale, abs=1e-12)
    assert make("grpo")(b, State())[1]["clipped_share"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("name", ON_POLICY)
def test_good_answers_go_up_and_bad_ones_down(name):
    b = group([[[-1.0, -2.0]] * 3], [[[-1.0, -2.0]] * 3], [[[-1.0, -2.0]] * 3], [[0.9, 0.5, 0.1]])
    _, gradient = loss_and_gradient(make(name), b)
    assert (gradient[0, 0] < 0).all() and (gradient[0, 2] > 0).all()
    assert gradient[0, 1].abs().max() < 1e-12


def test_at_the_sampling_policy_rloo_is_reinforce():
    b = random_group(3)
    b = dataclasses.replace(b, token_old=b.token_logp.detach())
    _, gradient = loss_and_gradient(make("rloo"), b)
    advantage = leave_one_out(b.score, torch.ones(2, 4, dtype=torch.bool))
    torch.testing.assert_close(gradient, -(advantage / 4)[:, :, None] * b.token_mask)


def test_rloo_with_the_leave_one_out_baseline_is_k_over_k_minus_one_of_the_mean():
    b = random_group(4, k=5)
    here = torch.ones(2, 5, dtype=torch.bool)
    others = (b.score.sum(-1, keepdim=True) - b.score) / 4
    torch.testing.assert_close(leave_one_out(b.score, here), b.score - others)
    torch.testing.assert_close(leave_one_out(b.score, here), centred(b.score, here) * 5 / 4)


def test_clipping_stops_the_gradient_only_where_the_step_already_went_the_right_way():
    for advantage, log_ratio, stopped in ((1, 0.5, True), (1, -0.5, False), (-1, -0.5, True), (-1, 0.5, False), (1, 0.1, False)):
        x = torch.tensor(log_ratio, dtype=torch.float64, requires_grad=True)
        loss, cut = clipped(x, torch.tensor(float(advantage)), 0.2)
        (gradient,) = torch.autograd.grad(loss, x)
        assert (gradient.item() == 0) == stopped == cut.item()
        if not stopped:
            assert gradient.item() == pytest.approx(-advantage * math.exp(log_ratio))


def test_k3_is_zero_at_the_reference_positive_elsewhere_and_pulls_back():
    for away in (-200.0, -3.0, -0.1, 0.1, 3.0, 200.0):
        pi = torch.tensor(away, dtype=torch.float32, requires_grad=True)
        value = k3(pi, torch.tensor(0.0))
        (gradient,) = torch.autograd.grad(value, pi)
        assert value > 0 and value.isfinite() and gradient.isfinite() and gradient.item() * away > 0
    assert k3(torch.tensor(1.5), torch.tensor(1.5)) == 0


@pytest.mark.parametrize("name", ON_POLICY)
def test_equal_rewards_and_single_answers_teach_nothing_but_the_divergence(name):
    if name == "pairwise_rl":
        return  # its baseline is the anchor; the next test says so
    without = {} if name in ("dr_grpo", "rloo") else {"kl_weight": 0.0}
    for b in (random_group(5), random_group(6, k=1)):
        b = dataclasses.replace(b, score=torch.full_like(b.score, 0.3), win_prob=torch.full_like(b.win_prob, 0.5))
        loss, gradient = loss_and_gradient(make(name, **without), b)
        assert not gradient.any() and loss.abs().max() < 1e-12
        if b.score.shape[1] > 1:
            assert make(name, **without)(b, State())[1].get("idle_groups", 1.0) == 1.0


def test_pairwise_rl_learns_from_a_single_answer_against_the_anchor():
    for won, sign in ((0.9, -1), (0.5, 0), (0.2, 1)):
        _, gradient = loss_and_gradient(make("pairwise_rl"), group([[[-1.0]]], [[[-1.0]]], [[[-1.0]]], [[won]]))
        assert math.copysign(1, gradient.item()) == sign or (sign == 0 and gradient.item() == 0)
        assert gradient.item() == pytest.approx(0.5 - won)


@pytest.mark.parametrize("name", ON_POLICY)
def test_gradients_equal_finite_differences(name):
    b, objective = random_group(7), make(name)
    assert torch.autograd.gradcheck(lambda x: objective(dataclasses.replace(b, token_logp=x), State())[0], b.token_logp)


@pytest.mark.parametrize("name", ON_POLICY)
def test_padding_of_tokens_and_answers_reaches_neither_loss_nor_gradient(name):
    b = random_group(8)
    loss, gradient = loss_and_gradient(make(name), b)
    for junk in (0.0, 300.0, -300.0, NAN, float("inf"), float("-inf")):
        for missing in ("nan", "mask"):

            def pad(x, junk=junk):
                return torch.nn.functional.pad(x.detach(), (0, 2, 0, 1), value=junk)

            inside = torch.nn.functional.pad(b.token_mask, (0, 2, 0, 1))
            score = torch.nn.functional.pad(b.score, (0, 1), value=NAN if missing == "nan" else 9.0)
            win = torch.nn.functional.pad(b.win_prob, (0, 1, 0, 1), value=NAN if missing == "nan" else 9.0)
            mask = None if missing == "nan" else torch.nn.functional.pad(torch.ones(2, 4, dtype=torch.bool), (0, 1))
            padded = Batch(torch.nn.functional.pad(b.logp, (0, 1)), torch.nn.functional.pad(b.lengths, (0, 1)), score=score,
                           win_prob=win, mask=mask, token_logp=pad(b.token_logp).requires_grad_(), token_old=pad(b.token_old),
                           token_ref=pad(b.token_ref), token_mask=inside)  # fmt: skip
            found = loss_and_gradient(make(name), padded)
            torch.testing.assert_close(found[0], loss)
            torch.testing.assert_close(found[1], torch.nn.functional.pad(gradient, (0, 2, 0, 1)))


@pytest.mark.parametrize("name", ON_POLICY)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 6), t=st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_order_of_storage_does_not_matter_and_examples_are_independent(name, seed, k, t):
    b = random_group(seed, b=3, k=k, t=t)
    loss, gradient = loss_and_gradient(make(name), b)
    order, rows = torch.randperm(k), torch.tensor([2, 0])

    def move(x):
        return x.detach()[rows][:, order]

    moved = {f: move(getattr(b, f)) for f in ("logp", "lengths", "score", "token_logp", "token_ref", "token_old", "token_mask")}
    moved["token_logp"].requires_grad_()
    win = b.win_prob[rows][:, order][:, :, order]
    found = loss_and_gradient(make(name), Batch(**moved, win_prob=win))
    torch.testing.assert_close(found[0], loss[rows])
    torch.testing.assert_close(found[1], gradient[rows][:, order])


@pytest.mark.parametrize("name", ON_POLICY)
@given(reward=st.lists(st.floats(0, 1), min_size=3, max_size=3), scale=st.sampled_from([1e-3, 0.5]), shift=st.floats(0, 0.4))
@settings(max_examples=20, deadline=None)
def test_a_common_shift_of_the_rewards_changes_nothing(name, reward, scale, shift):
    if name == "pairwise_rl":
        return  # a fixed anchor is the point
    one = [[[[x]] * 3] for x in (-1.0, -1.2, -0.9)]
    before, after = (loss_and_gradient(make(name), group(*one, [[scale * r + s for r in reward]])) for s in (0.0, shift))
    torch.testing.assert_close(before, after, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ON_POLICY)
def test_finite_two_hundred_nats_from_the_sampling_policy_and_the_reference(name):
    far = [-200.0, 0.0, 200.0]
    for reward in ([1.0, 0.5, 0.0], [0.0, 0.5, 1.0]):
        for old in far:
            pi = [[[x - 300, -300.0] for x in far]]
            b = group(pi, [[[old - 300] * 2] * 3], [[[-old - 300] * 2] * 3], [reward], dtype=torch.float32)
            loss, gradient = loss_and_gradient(make(name), b)
            assert loss.isfinite().all() and gradient.isfinite().all() and gradient.norm().isfinite()


def test_wins_that_were_never_judged_do_not_count_and_a_circle_is_even():
    here = torch.ones(1, 3, dtype=torch.bool)
    wins, compared = win_fraction(torch.tensor([[[0.5, 1.0, NAN], [0.0, 0.5, NAN], [NAN, NAN, 0.5]]]), here)
    assert wins.tolist() == [[1.0, 0.0, 0.0]] and compared.tolist() == [[True, True, False]]
    circle = [[[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]]]
    one = [[[[-1.0]] * 3]] * 3
    assert not loss_and_gradient(make("pref_grpo"), group(*one, win=circle))[1].any()
    transitive = [[[0.5, 0.9, 0.9], [0.1, 0.5, 0.9], [0.1, 0.1, 0.5]]]
    assert loss_and_gradient(make("pref_grpo"), group(*one, win=transitive))[1].any()


def test_scores_that_are_no_probabilities_are_refused():
    one = [[[[-1.0]] * 2]] * 3
    with pytest.raises(PlumblineError, match="pairwise_rl takes as score the probability"):
        make("pairwise_rl")(group(*one, [[7.0, 0.5]]), State())
    with pytest.raises(PlumblineError, match="win probabilities must lie in"):
        make("pref_grpo")(group(*one, win=[[[0.5, 3.0], [-2.0, 0.5]]]), State())


def test_without_a_weight_on_the_divergence_no_reference_model_is_asked_for():
    for name in ("grpo", "pref_grpo", "pairwise_rl"):
        assert Need.REFERENCE in make(name).needs and Need.REFERENCE not in make(name, kl_weight=0.0).needs
        b = dataclasses.replace(random_group(9), token_ref=None, ref_logp=None)
        assert make(name, kl_weight=0.0)(b, State())[0].isfinite().all()
        assert Need.REFERENCE in LISTS[name].needs  # the class keeps what its defaults need


@pytest.mark.parametrize("name", ON_POLICY)
def test_a_bandit_learns_its_best_arm(name):
    # Six answers of one token with rewards 0 … 1; groups of 16 samples, two gradient steps a group.
    reward = torch.linspace(0, 1, 6, dtype=torch.float64)[torch.tensor([3, 5, 0, 2, 4, 1])]
    logits = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.1)
    objective = make(name, **({"max_length": 1} if name == "dr_grpo" else {}))
    generator = torch.Generator().manual_seed(0)

    def expected():
        return (logits.softmax(0) * reward).sum().item()

    assert expected() == pytest.approx(0.5)
    for _ in range(60):
        with torch.no_grad():
            old = logits.log_softmax(0)
            arm = torch.multinomial(old.exp(), 16, replacement=True, generator=generator)[None]
            score = reward[arm]
            win = 0.5 + 0.5 * (score[:, :, None] - score[:, None, :]).sign()
        for _ in range(2):
            token = logits.log_softmax(0)[arm][:, :, None]
            b = Batch(token[:, :, 0].detach(), torch.ones_like(arm), score=score, win_prob=win, token_logp=token,
                      token_old=old[arm][:, :, None], token_ref=torch.full_like(token, -math.log(6)).detach(),
                      token_mask=torch.ones_like(token, dtype=torch.bool))  # fmt: skip
            optimiser.zero_grad()
            objective(b, State())[0].sum().backward()
            optimiser.step()
    assert expected() > 0.8 and logits.argmax() == 1


# Hugging Face TRL's own losses, on the same numbers


def _method(file, name):
    """One function out of TRL's installed source: importing its trainers takes half a minute and packages we do not use."""
    found = importlib.util.find_spec("trl")
    if found is None:
        pytest.skip("trl is not installed")
    tree = ast.parse((Path(found.origin).parent / "trainer" / file).read_text())
    function = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name)
    names = {"torch": torch, "nanmin": torch.min, "nanmax": torch.max}
    exec(compile(ast.Module([function], []), file, "exec"), names)
    return names[name]


def _trl(file, b, advantage, **settings):
    """TRL's loss with its model call replaced by our log-probabilities; nothing else of a trainer is needed to compute it."""
    flat = {f: getattr(b, f).flatten(0, 1) for f in ("token_logp", "token_ref", "token_old", "token_mask")}
    mask = flat["token_mask"].long()

    def identity(x, **_):
        return x

    inputs = {"prompt_ids": mask[:, :1], "prompt_mask": mask[:, :1], "completion_ids": mask, "completion_mask": mask,
              "advantages": advantage.flatten(),
              "old_per_token_logps": flat["token_old"], "ref_per_token_logps": flat["token_ref"],
              "old_logps": (flat["token_old"] * mask).sum(-1)}  # fmt: skip
    stub = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (flat["token_logp"], flat["token_logp"].detach(), None),
        accelerator=SimpleNamespace(gather=identity, reduce=identity, gather_for_metrics=identity, num_processes=1),
        model=SimpleNamespace(training=False), args=SimpleNamespace(delta=None, use_bias_correction_kl=False),
        _metrics=defaultdict(lambda: defaultdict(list)), aux_loss_enabled=False, top_entropy_quantile=1.0, tools=None,
        off_policy_mask_threshold=None, importance_sampling_level="token", epsilon_low=0.2, epsilon_high=0.2, use_vllm=False,
        use_liger_kernel=False, _entropy_bonus_enabled=False, current_gradient_accumulation_steps=1, **settings)  # fmt: skip
    return _method(file, "_compute_loss")(stub, None, inputs)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo"])
def test_losses_and_gradients_equal_those_of_trl(name, seed):
    b = random_group(seed, spread=0.4)
    here = torch.ones(2, 4, dtype=torch.bool)
    if name == "rloo":
        loss = _trl("rloo_trainer.py", b, leave_one_out(b.score, here))
        objective = make("rloo")
    else:
        advantage, kl, extra = (standardised, 0.04, {}) if name == "grpo" else (centred, 0.0, {"max_length": 40})
        loss = _trl("grpo_trainer.py", b, advantage(b.score, here), loss_type=name, beta=kl, max_completion_length=40)
        objective = make(name, **extra)
    (gradient,) = torch.autograd.grad(loss, b.token_logp)
    found, _, _ = objective(b, State())
    (ours,) = torch.autograd.grad(found.mean(), b.token_logp)
    torch.testing.assert_close(found.mean(), loss, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(ours, gradient, rtol=1e-5, atol=1e-9)
    assert ours.any()
