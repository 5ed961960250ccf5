"""Adapters, optimisers and recomputed activations: each acts, and none changes what it should not."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from data_contracts.config_align import AlignConfig
from models.checkpoint import load_model, open_checkpoint
from models.training.data import read_pairs
from models.training.jobs import rank
from models.training.logps import completion_logps
from models.training.methods import build_optimizer, merge, set_up, trainable
from models.training.progress import silent
from tests.models.test_training_loop import config, run
from tests.pairs_dataset import pairs_dataset


def weights(folder):
    return load_file(folder / "model" / "model.safetensors")


def test_a_merged_checkpoint_is_an_ordinary_one_and_gives_what_training_reported(pairs, tiny, tmp_path):
    settings = {"lora": {"rank": 4, "alpha": 8}, "epochs": 12, "learning_rate": 1e-2}
    steps = run(pairs, tmp_path / "out", tiny, **settings)["steps"]
    before, after = load_file(tiny.path / "model.safetensors"), weights(tmp_path / "out")
    assert before.keys() == after.keys()
    AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if "_proj" in name}  # neither embedding nor head nor norms
    for name in moved:
        rank_found = torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-3)
        assert rank_found <= 4, name
    policies = [tiny, open_checkpoint(tmp_path / "out" / "model")]
    rows = [rank({"policy": {"path": str(m.path), "hash": m.hash}, "pairs": str(pairs.folder)}, silent)["rows"] for m in policies]
    first, last = (sum(r["chosen_logp"] - r["rejected_logp"] for r in side) / len(side) for side in rows)
    assert last - first == pytest.approx(sum(row["margin"] for row in steps[-3:]) / 3, rel=0.15) and last - first > 0.5


def test_a_fresh_adapter_changes_no_log_probability_and_is_all_that_is_trained(pairs, tiny):
    data = read_pairs(pairs.folder)
    model = load_model(tiny.path, torch.float32).eval()
    before = completion_logps(model, data).detach()
    set_up(model, AlignConfig.model_validate({"objective": {"name": "dpo"}, "lora": {"rank": 2}}))
    torch.testing.assert_close(completion_logps(model, data).detach(), before, rtol=0, atol=0)
    assert trainable(model) and all("lora_" in name for name in trainable(model))
    merge(model)
    torch.testing.assert_close(completion_logps(model, data).detach(), before, rtol=0, atol=1e-5)
    assert not [name for name, _ in model.named_modules() if "lora" in name]


def test_recomputed_activations_give_the_same_gradient_in_less_memory(pairs, tiny):
    data, found, kept = read_pairs(pairs.folder), [], []
    for again in (False, True):
        model = load_model(tiny.path, torch.float32).eval()
        set_up(model, AlignConfig.model_validate({"objective": {"name": "dpo"}, "gradient_checkpointing": again}))
        held = [0]

        def pack(value, held=held):
            held[0] += value.numel()
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            total = completion_logps(model, data)
        kept.append(held[0])
        (total[:, 0] - total[:, 1]).sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert (found[0] - found[1]).norm() < 1e-5 * found[0].norm()
    assert kept[1] < 0.7 * kept[0]


@pytest.mark.parametrize("optimizer,kind", [("adamw", torch.optim.AdamW), ("rmsprop", torch.optim.RMSprop)])
def test_the_optimizer_named_is_the_one_that_trains(pairs, tiny, tmp_path, optimizer, kind):
    built = build_optimizer(load_model(tiny.path, torch.float32), config(optimizer=optimizer))
    assert type(built) is kind
    steps = run(pairs, tmp_path / "out", tiny, optimizer=optimizer, epochs=6)["steps"]
    assert steps[-1]["margin"] > 0.5


@pytest.mark.parametrize("settings", [{"lora": {"rank": 4}}, {"optimizer": "rmsprop"}, {"gradient_checkpointing": True}])
def test_each_method_goes_on_after_a_kill_to_the_same_weights(pairs, tiny, tmp_path, monkeypatch, settings):
    from models.training import snapshots

    run(pairs, tmp_path / "whole", tiny, **settings)
    monkeypatch.setattr(snapshots, "EVERY", 0.0)
    monkeypatch.setattr(snapshots, "SHARE", 0.0)

    class Stop(Exception):
        pass

    def stop(done, *_):
        if done == 4:
            raise Stop

    with pytest.raises(Stop):
        run(pairs, tmp_path / "cut", tiny, progress=stop, **settings)
    seen = []
    run(pairs, tmp_path / "cut", tiny, progress=lambda done, *_: seen.append(done), **settings)
    assert seen == [4, 5, 6]
    first, second = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_with_the_adapter_off_a_trained_policy_is_its_reference(pairs, tiny):
    data, model = read_pairs(pairs.folder), load_model(tiny.path, torch.float32).eval()
    before = completion_logps(model, data).detach()
    set_up(model, AlignConfig.model_validate({"objective": {"name": "dpo"}, "lora": {"rank": 2}}))
    optimizer = torch.optim.SGD(trainable(model).values(), lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        (-completion_logps(model, data)[:, 0].mean()).backward()
        optimizer.step()
    assert (completion_logps(model, data) - before).abs().max() > 0.1
    for module in model.modules():
        if hasattr(module, "lora_A"):
            module.enable_adapters(False)
    torch.testing.assert_close(completion_logps(model, data).detach(), before, rtol=0, atol=0)


@pytest.mark.engine
def test_a_merged_checkpoint_is_one_that_vllm_loads(engine, student, tmp_path):
    """`use` compares the engine's log-probabilities with a plain transformers forward and refuses a difference."""
    data = pairs_dataset(tmp_path / "pairs", student, 8)
    run(data, tmp_path / "out", student, lora={"rank": 4}, learning_rate=1e-2, epochs=2)
    merged = open_checkpoint(tmp_path / "out" / "model")
    assert merged.hash != student.hash
    engine.use(merged)
    engine.use(student)
