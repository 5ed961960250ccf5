"""What is watched while training runs: held-out pairs, memory, a loss that does not move."""

import logging

import pytest
import torch

import models.training.gradient as gradient
from data_contracts.errors import PlumblineError
from models.checkpoint import load_model
from models.objectives.batch import State
from models.training import snapshots, watch
from models.training.data import Example, hold_out, read_pairs
from models.training.flex import sees
from models.training.gradient import Given, accumulate
from models.training.jobs import fresh_accelerator
from models.training.logps import all_logps
from models.training.loop import within_memory
from models.training.tree import lay, plant
from tests.models.objective_cases import batch, make
from tests.models.test_training_gradient import objective
from tests.models.test_training_loop import run

STOP = {"early_stop": {"held_out": 0.25, "every": 1, "patience": 3}, "epochs": 12, "learning_rate": 2e-2, "schedule": "constant"}


def test_training_stops_when_held_out_pairs_are_ranked_no_better_and_the_best_weights_remain(pairs, tiny, tmp_path):
    result = run(pairs, tmp_path / "out", tiny, **STOP)
    accuracy = [row["held_out_accuracy"] for row in result["steps"]]
    best = accuracy.index(max(accuracy))
    assert len(accuracy) == best + 1 + 3 < 12 * 3 and result["figures"]["best_step"] == best + 1
    data = read_pairs(pairs.folder)
    held = [data[i] for i in hold_out(data, 0.25, 0)[1]]
    models = [load_model(folder, torch.float32).eval() for folder in (tmp_path / "out" / "model", tiny.path)]
    after, before = (all_logps(model, held, 10**6) for model in models)
    margin = (after - before)[:, 0] - (after - before)[:, 1]
    assert (margin > 0).double().mean().item() == pytest.approx(accuracy[best])


def test_early_stopping_goes_on_after_a_kill_as_if_nothing_had_happened(pairs, tiny, tmp_path, monkeypatch):
    whole = run(pairs, tmp_path / "whole", tiny, **STOP)
    monkeypatch.setattr(snapshots, "EVERY", 0.0)
    monkeypatch.setattr(snapshots, "SHARE", 0.0)

    def stop(done, *_):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(pairs, tmp_path / "cut", tiny, progress=stop, **STOP)
    cut = run(pairs, tmp_path / "cut", tiny, **STOP)
    assert [row["held_out_accuracy"] for row in cut["steps"]] == [row["held_out_accuracy"] for row in whole["steps"]]
    files = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert files[0] == files[1]


def test_held_out_prompts_are_none_that_are_trained_on():
    data = [Example(str(i), [i // 2], ([1], [2])) for i in range(40)]
    kept, away = hold_out(data, 0.2, 1)
    assert sorted(kept + away) == list(range(40)) and len(away) == 8
    assert not {data[i].prompt[0] for i in kept} & {data[i].prompt[0] for i in away}
    assert hold_out(data, 0.2, 1) == (kept, away) != hold_out(data, 0.2, 2)
    with pytest.raises(PlumblineError, match="leaves nothing"):
        hold_out(data[:2], 0.1, 1)


def test_a_step_that_runs_out_of_memory_is_repeated_with_half_the_tokens_and_the_same_gradient(pairs, tiny, monkeypatch, caplog):
    """The second micro batch fails, when the first has already left its gradient."""
    model, examples = load_model(tiny.path, torch.float32).eval(), read_pairs(pairs.folder)
    given = Given(examples, (all_logps(model, examples, 10**6) - 1)[None])

    def step(tokens):
        return accumulate(model, given, list(range(12)), objective("dpo"), State(), tokens, fresh_accelerator("float32"))

    expected = step(10**6)
    one = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    honest, sizes = gradient.tree_logps, []

    def scarce(model, examples, overlap=False):
        sizes.append(sum(e.tree_tokens for e in examples))
        if len(sizes) == 2:
            raise torch.OutOfMemoryError
        return honest(model, examples, overlap=overlap)

    monkeypatch.setattr(gradient, "tree_logps", scarce)
    with caplog.at_level(logging.WARNING):
        found, budget = within_memory(lambda tokens: step(tokens), model, 200)
    assert budget == 100 and "micro batches of 100 tokens" in caplog.text
    assert max(sizes[:2]) > 100 >= max(sizes[2:])
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-6)
    again = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert (again - one).norm() < 1e-5 * one.norm()


def test_memory_that_suffices_for_nothing_ends_training(tiny):
    def never(tokens):
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        within_memory(never, load_model(tiny.path, torch.float32), 8192)


def test_each_step_says_rewards_divergence_and_memory(pairs, tiny, tmp_path):
    rows = run(pairs, tmp_path / "out", tiny, name="dpo", epochs=2)["steps"]
    assert rows[0]["reference_kl"] == pytest.approx(0, abs=1e-6) and rows[-1]["reference_kl"] > 1e-3
    for row in rows:
        assert row["chosen_reward"] == pytest.approx(0.1 * row["chosen_logratio"])
        assert row["rejected_reward"] == pytest.approx(0.1 * row["rejected_logratio"])
        assert row["peak_memory_mb"] > 50 and row["mfu"] is None and row["held_out_accuracy"] is None


@pytest.mark.parametrize("name", ["simpo", "dpo_norm"])
def test_an_objective_whose_reward_is_no_sum_of_log_ratios_says_none(pairs, tiny, tmp_path, name):
    rows = run(pairs, tmp_path / "out", tiny, name=name, epochs=1)["steps"]
    assert all(
        row["chosen_reward"] is None and row["rejected_reward"] is None and row["chosen_logratio"] is not None for row in rows
    )


@pytest.mark.parametrize("name", ["dpo", "apo_zero", "apo_down", "kto", "ipo_sum", "simpo", "hinge"])
def test_a_loss_that_sits_where_it_began_is_an_alarm_and_one_that_moves_is_not(name):
    at = make(name)(batch(((-12.0, -15.0),), ((-12.0, -15.0),)), State())[0].item()
    still = [{"loss": at + 1e-5 * (-1) ** i} for i in range(20)]
    assert f"at {still[0]['loss']:.4g}, where it began" in watch.alarm(still)
    assert watch.alarm(still[:19]) is None and watch.alarm([*still, {"loss": at - 3e-3}]) is None
    assert watch.alarm([{"loss": at + 1e-2}, *still]) is None  # it has moved, and rests elsewhere


def test_a_loss_that_is_no_measure_is_no_alarm():
    assert watch.alarm([{"loss": 0.0}] * 20) is None  # policy gradients begin there, and learn all the same
    assert watch.alarm([{"loss": float("nan")}] * 20) is None


def test_operations_are_counted_by_hand(tiny):
    model = load_model(tiny.path, torch.float32)
    pair = Example("a", [1, 2, 3], ([4, 5], [4, 6]))  # a tree of six tokens, three of them predicted
    body = sum(p.numel() for name, p in model.named_parameters() if "proj" in name)
    assert watch.operations(model, [pair]) == 6 * (body * 6 + model.lm_head.weight.numel() * 3)
    model.requires_grad_(False)
    assert watch.operations(model, [pair]) == 4 * (body * 6 + model.lm_head.weight.numel() * 3)


def test_a_gpu_s_peak_is_found_by_its_whole_name(monkeypatch):
    peaks = {"NVIDIA H100 80GB HBM3": 989e12, "NVIDIA A100-SXM4-80GB": 312e12, "NVIDIA L40": None, "NVIDIA L4": 121e12}
    for name, peak in peaks.items():
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device, name=name: name)
        used = watch.utilisation(1e12, 1.0, torch.device("cuda"))
        assert used is None if peak is None else used == pytest.approx(1e12 / peak)


@pytest.mark.parametrize("window", [None, 3])
def test_the_mask_for_flex_attention_is_the_one_that_is_proven(window):
    """Against the dense masks, token by token; the kernel itself needs a GPU."""
    from models.training.attention import Layout

    data = [Example("a", [1, 2], ([5, 6, 7], [5, 6, 8, 9], [6])), Example("b", [3], ([1, 1], [1, 2]))]
    row = lay([plant(e) for e in data], 10**6)
    used = [1, 3, 4, 8]
    layout = Layout(row, torch.device("cpu"), used)
    for last in (False, True):
        (dense,) = layout.masks(last, window, torch.float32)
        asking = torch.tensor(used) if last else torch.arange(dense.shape[1])
        seen = sees(asking, layout._until, layout.depth[0], window)
        queries, keys = (torch.arange(n) for n in dense.shape)
        assert torch.equal(seen(None, None, queries[:, None], keys[None]), dense == 0)


def test_flex_attention_is_tried_with_gradients_whoever_asks_first(monkeypatch):
    """The first to ask is the check of the head, without gradients; a failure there is remembered for the whole training."""
    from models.training import flex

    given = []

    def kernel(query, key, value, enable_gqa, **_):
        given.append((query.dtype, query.shape, key.shape, enable_gqa))
        return query * value.sum()

    monkeypatch.setattr(flex, "_compiled", lambda: kernel)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert flex._runs("cpu", torch.float32, 4, 2, 128)
    assert given == [(torch.float32, (1, 4, 256, 128), (1, 2, 256, 128), True)]  # the model's own shape
    monkeypatch.setattr(flex, "_compiled", lambda: lambda query, key, value, **_: query.detach())
    assert not flex._runs("cpu", torch.float32, 4, 2, 128)
    assert not flex.works("cpu", torch.float32, 4, 2, 128)
