"""The loop on a real, if tiny, model: what it moves, what it writes, and when it stops."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from data_contracts.config_align import AlignConfig
from data_contracts.errors import PlumblineError
from data_contracts.records import STEPS
from models.checkpoint import load_tokenizer, open_checkpoint
from models.training.data import Example
from models.training.jobs import align, rank
from models.training.loop import check_start, learning_rate
from models.training.progress import silent


def config(name="apo_zero", **settings):
    settings = {"learning_rate": 1e-3, "epochs": 2, "batch_size": 8} | settings
    return AlignConfig.model_validate({"objective": {"name": name}} | settings)


def run(pairs, out, policy, reference=None, seed=0, progress=silent, second=None, cache=None, **settings):
    out.mkdir(exist_ok=True)
    models = {"policy": policy, "reference": reference or policy} | ({"second_reference": second} if second else {})
    if "reference_kind" in settings:
        settings["reference"] = settings.pop("reference_kind")
    job = {name: {"path": str(m.path), "hash": m.hash} for name, m in models.items()}
    job |= {"pairs": str(pairs.folder), "config": config(**settings).model_dump(mode="json"), "seed": seed}
    job |= {"out": str(out), "resume": str(out / "resume"), "cache": str(cache or out / "cache")}
    return align(job, progress)


KINDS = ["sft", "dpo", "apo_zero", "apo_down", "kto", "apo_zero_unpaired", "bco", "aot", "ld_dpo"]  # of every need


@pytest.mark.parametrize("name", KINDS)
def test_every_objective_trains_and_moves_the_answers_as_it_should(pairs, tiny, tmp_path, name):
    result = run(pairs, tmp_path / "out", tiny, name=name, epochs=6, learning_rate=2e-3)
    first, last = result["steps"][0], result["steps"][-1]
    assert set(first) == set(STEPS.names) and len(result["steps"]) == 18
    assert first["chosen_logratio"] == pytest.approx(0, abs=1e-3) == first["rejected_logratio"]
    assert last["loss"] < first["loss"]
    assert last["epoch"] == 6 and last["step"] == 18
    if name == "apo_down":
        assert last["rejected_logratio"] < last["chosen_logratio"]
    elif name == "sft":
        assert last["chosen_logratio"] > 0.1
    else:
        assert last["chosen_logratio"] > 0.1 and last["rejected_logratio"] < -0.1
    assert ("kl" in result["figures"]) == (name == "kto")


def test_a_seed_decides_everything(pairs, tiny, tmp_path):
    runs = [run(pairs, tmp_path / str(i), tiny, seed=seed) for i, seed in enumerate((5, 5, 6))]
    losses = [[row["loss"] for row in r["steps"]] for r in runs]
    weights = [load_file(tmp_path / str(i) / "model" / "model.safetensors") for i in range(3)]
    assert losses[0] == losses[1] != losses[2]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    assert any(not torch.equal(weights[0][k], weights[2][k]) for k in weights[0])


def test_the_new_checkpoint_loads_like_the_old_one(pairs, tiny, tmp_path):
    run(pairs, tmp_path / "out", tiny)
    folder = tmp_path / "out" / "model"
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.float32 and not model.config.tie_word_embeddings
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (folder / name).read_bytes() == (tiny.path / name).read_bytes()
    assert load_tokenizer(folder).chat_template == load_tokenizer(tiny.path).chat_template
    assert open_checkpoint(folder).hash != tiny.hash
    assert all(p.isfinite().all() for p in model.parameters())


def test_the_saved_weights_are_those_that_were_trained(pairs, tiny, tmp_path):
    """What the last steps report is what the checkpoint gives when ranked afresh."""
    steps = run(pairs, tmp_path / "out", tiny, epochs=8, learning_rate=2e-3)["steps"]
    trained = open_checkpoint(tmp_path / "out" / "model")
    rows = [
        rank({"policy": {"path": str(m.path), "hash": m.hash}, "pairs": str(pairs.folder)}, silent)["rows"]
        for m in (tiny, trained)
    ]
    before, after = (sum(r["chosen_logp"] - r["rejected_logp"] for r in side) / len(side) for side in rows)
    late = sum(row["margin"] for row in steps[-3:]) / 3
    assert after - before == pytest.approx(late, rel=0.1) and late > 1


def test_a_different_reference_is_really_used(pairs, tiny, tmp_path):
    run(pairs, tmp_path / "one", tiny, epochs=4)
    policy = open_checkpoint(tmp_path / "one" / "model")
    again = run(pairs, tmp_path / "two", policy, reference=tiny, epochs=1)["steps"][0]
    anew = run(pairs, tmp_path / "three", policy, epochs=1)["steps"][0]
    assert again["margin"] > 0.5 and anew["margin"] == pytest.approx(0, abs=1e-3)
    assert again["chosen_logp"] == pytest.approx(anew["chosen_logp"], abs=1e-3)


def test_bfloat16_trains_and_saves_bfloat16(pairs, tiny, tmp_path):
    result = run(pairs, tmp_path / "out", tiny, dtype="bfloat16", epochs=6, learning_rate=2e-3)
    assert result["steps"][-1]["margin"] > 0.5
    weights = load_file(tmp_path / "out" / "model" / "model.safetensors")
    assert {w.dtype for w in weights.values()} == {torch.bfloat16}


def test_progress_counts_steps_and_tells_their_speed(pairs, tiny, tmp_path):
    seen = []
    steps = run(pairs, tmp_path / "out", tiny, progress=lambda *at: seen.append(at))["steps"]
    assert [at[:2] for at in seen] == [(i + 1, 6) for i in range(6)]
    assert seen[3][2] == pytest.approx(sum(row["tokens_per_second"] for row in steps[:4]) / 4)  # of the last steps, at most ten


def test_a_loss_that_is_no_number_stops_with_one_sentence(pairs, tiny, tmp_path):
    with pytest.raises(PlumblineError, match=r"stopped at step \d+ of 12 because .* lower align.learning_rate"):
        run(pairs, tmp_path / "out", tiny, name="sft", learning_rate=1e38, max_grad_norm=1e30, warmup=0.0, epochs=4)
    assert not (tmp_path / "out" / "model").exists()


def test_the_bound_on_the_gradient_and_the_decay_of_weights_act(pairs, tiny, tmp_path):
    start, moved = load_file(tiny.path / "model.safetensors"), {}
    for name, settings in {"plain": {}, "bound": {"max_grad_norm": 1e-12}, "decay": {"weight_decay": 100.0}}.items():
        run(pairs, tmp_path / name, tiny, epochs=1, warmup=0.0, schedule="constant", **settings)
        after = load_file(tmp_path / name / "model" / "model.safetensors")
        moved[name] = sum((after[k] - start[k]).norm() for k in start) / sum(start[k].norm() for k in start)
    assert moved["bound"] < 1e-3 * moved["plain"] and moved["plain"] < 0.1
    assert moved["decay"] == pytest.approx(1 - 0.9**3, rel=0.1)  # three steps, each of which takes learning rate x decay away


def test_broken_weights_are_refused_before_training(pairs, tiny, tmp_path):
    shutil.copytree(tiny.path, tmp_path / "broken")
    weights = load_file(tiny.path / "model.safetensors")
    weights["lm_head.weight"][3] = float("nan")
    save_file(weights, tmp_path / "broken" / "model.safetensors", {"format": "pt"})
    with pytest.raises(PlumblineError, match="log-probability"):
        run(pairs, tmp_path / "out", open_checkpoint(tmp_path / "broken"))


def test_a_policy_equal_to_its_reference_must_start_without_margin():
    examples = [Example("a", [1], ([1, 2], [1])), Example("b", [1], ([1], [1, 2]))]
    check_start(torch.full((2, 2), 1e-5), examples, 1e-4)
    with pytest.raises(PlumblineError, match="pair 'b' before the first step"):
        check_start(torch.tensor([[1e-5, 0.0], [0.0, 0.3]]), examples, 1e-4)
    with pytest.raises(PlumblineError):
        check_start(torch.full((2, 2), float("nan")), examples, 1e-4)


def test_stale_reference_numbers_are_caught_at_the_first_step(pairs, tiny, tmp_path, monkeypatch):
    """The same checkpoint, but a cache that lies: training must not start."""
    from models.training import prepare

    honest = prepare.all_tree_logps
    monkeypatch.setattr(prepare, "all_tree_logps", lambda *a: (honest(*a)[0] + 0.05, honest(*a)[1]))
    with pytest.raises(PlumblineError, match="before the first step"):
        run(pairs, tmp_path / "out", tiny)


@pytest.mark.parametrize("schedule,half,last", [("constant", 1.0, 1.0), ("linear", 0.5, 1 / 90), ("cosine", 0.5, 0.0003)])
def test_learning_rate_warms_up_then_follows_its_schedule(schedule, half, last):
    c = config(learning_rate=1.0, schedule=schedule, warmup=0.1)
    rates = [learning_rate(step, 100, c) for step in range(100)]
    assert rates[:11] == pytest.approx([*(0.1 * (i + 1) for i in range(10)), 1.0])
    assert rates[55] == pytest.approx(half) and rates[99] == pytest.approx(last, abs=1e-4)
    assert learning_rate(0, 1, c) > 0 and min(rates) > 0
