"""Two processes give the losses, gradients and weights that one gives: DDP and FSDP2, on the CPU over gloo."""

import json
import os
import pickle
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from data_contracts.config_align import AlignConfig
from data_contracts.errors import PlumblineError
from models.checkpoint import empty_model, load_model
from models.extrapolation import write_extrapolation
from models.objectives.batch import State
from models.training import team
from models.training.data import mismatched, read_pairs
from models.training.gradient import Given, accumulate
from models.training.jobs import align, fresh_accelerator
from models.training.logps import all_logps, all_tree_logps
from models.training.process import Trainer, _environment
from models.training.progress import silent
from tests.conftest import ROOT
from tests.models.test_training_gradient import objective
from tests.pairs_dataset import pairs_dataset

# a batch cut unevenly, one that leaves a process without work, and one in a single pass; with and without a state, by token
BATCHES = {
    "dpo": (list(range(7)), 150),
    "apo_zero": ([3], 10**6),
    "kto": (list(range(8)), 200),
    "bco": (list(range(5)), 10**6),
    "sft": (list(range(7)), 150),
    "ld_dpo": (list(range(6)), 100),
    "wpo": (list(range(6)), 10**6),
}
WAYS = ("ddp", "fsdp2")
EMA = {"rate": 0.6, "every": 2}
JOBS = {
    "ddp": {},
    "fsdp2": {"sharded": True},
    "fsdp2-cut": {"sharded": True},
    "ddp-ema": {"reference": "ema", "ema": EMA},
    "fsdp2-ema-cut": {"reference": "ema", "ema": EMA, "sharded": True},
    "fsdp2-curriculum": {"curriculum": {"stages": 2}, "sharded": True},
    "fsdp2-extrapolated": {"reference": "extrapolated", "sharded": True},
    "fsdp2-relative_po": {"objective": {"name": "relative_po"}, "sharded": True},
    "fsdp2-sft-alone": {"objective": {"name": "sft"}, "sharded": True, "pairs": "one_sided"},  # of 12 rows one has both sides
    "fsdp2-tied": {"sharded": True},
    "fsdp2-bfloat16": {"dtype": "bfloat16", "sharded": True},
    "fsdp2-bfloat16-lora": {"dtype": "bfloat16", "lora": {"rank": 4}, "gradient_checkpointing": True, "sharded": True},
    "fsdp2-lora": {"lora": {"rank": 4}},  # the last: how it is asked for stays with the process
}


def tied(tiny, folder):
    """The same model, but what writes tokens is what reads them."""
    shutil.copytree(tiny.path, folder)
    told = json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(told))
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def job(folder, out, tiny, pairs="pairs", **settings):
    settings = {"objective": {"name": "apo_zero"}, "learning_rate": 1e-3, "batch_size": 6, "epochs": 2} | settings
    named = {"path": str(folder / "tied" if "tied" in out else tiny.path), "hash": "tied" if "tied" in out else tiny.hash}
    far = {"path": str(folder / "beyond"), "hash": "beyond"} if settings.get("reference") == "extrapolated" else named
    config = AlignConfig.model_validate(settings | {"micro_batch_tokens": 200}).model_dump(mode="json")
    made = {"pairs": str(folder / pairs), "policy": named, "reference": far, "config": config, "seed": 0}
    (folder / out).mkdir()
    return made | {"out": str(folder / out), "resume": str(folder / out / "resume"), "cache": str(folder / out / "cache")}


@pytest.fixture(scope="module")
def given(tiny, tmp_path_factory):
    examples = read_pairs(pairs_dataset(tmp_path_factory.mktemp("data") / "pairs", tiny, 8).folder)
    model = load_model(tiny.path, torch.float32).eval()
    total, tokens = all_tree_logps(model, examples, 10**6)
    others, away = mismatched(examples), torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    aux = {"mismatch": (others, all_logps(model, others, 10**6) - 1)}
    return Given(examples, (total + away)[None], {}, {"token_ref": tokens}, aux, [t + 0.1 for t in tokens])


@pytest.fixture(scope="module")
def together(given, tiny, tmp_path_factory):
    """What two processes have left in a folder."""
    folder = tmp_path_factory.mktemp("team")
    shutil.copytree(tiny.path, folder / "tiny")
    pairs_dataset(folder / "pairs", tiny, 12)
    shutil.copytree(folder / "pairs", folder / "one_sided")
    rows = pq.read_table(folder / "pairs" / "data.parquet")
    rejected = rows["rejected_ids"]
    absent = pa.array([ids if i == 5 else None for i, ids in enumerate(rejected.to_pylist())], rejected.type)
    rows = rows.set_column(rows.column_names.index("rejected_ids"), "rejected_ids", absent)
    pq.write_table(rows, folder / "one_sided" / "data.parquet")
    tied(tiny, folder / "tied")
    start = load_file(tiny.path / "model.safetensors")
    draw = torch.Generator().manual_seed(2)
    shutil.copytree(tiny.path, folder / "before")
    save_file(
        {k: v + 0.02 * torch.randn(v.shape, generator=draw) for k, v in start.items()},
        folder / "before/model.safetensors",
        {"format": "pt"},
    )
    write_extrapolation(tiny.path, folder / "before", 0.3, folder / "beyond")
    work = {name: (objective(name), *batch) for name, batch in BATCHES.items()}
    (folder / "given.pickle").write_bytes(pickle.dumps((given, work)))
    (folder / "jobs.json").write_text(json.dumps({name: job(folder, name, tiny, **settings) for name, settings in JOBS.items()}))
    command = [sys.executable, "-m", "tests.models.team_member", str(folder)]
    env = _environment(1) | {"GLOO_SOCKET_IFNAME": "lo", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}
    members = [subprocess.Popen([*command, str(rank)], env=env, cwd=ROOT, stderr=subprocess.PIPE, text=True) for rank in (0, 1)]
    said = [member.communicate(timeout=300)[1] for member in members]
    assert [member.returncode for member in members] == [0, 0], said[0][-2000:] + said[1][-2000:]
    return folder


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", BATCHES)
def test_two_processes_give_the_loss_and_gradient_of_one(together, given, tiny, name, way):
    model = load_model(tiny.path, torch.float32).eval()
    indices, tokens = BATCHES[name]
    losses, logps, figures, state = accumulate(
        model, given, indices, objective(name), State(), tokens, fresh_accelerator("float32")
    )
    found = load_file(together / f"{way}-{name}.safetensors")
    torch.testing.assert_close(found.pop("losses"), losses, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.pop("logps"), logps, rtol=1e-5, atol=1e-6)
    expected = torch.tensor([*figures.values(), state.mean, state.variance])
    torch.testing.assert_close(found.pop("figures"), expected, rtol=1e-5, atol=1e-5)
    one = {k: p.grad for k, p in model.named_parameters()}
    assert found.keys() == one.keys()
    off = torch.cat([(found[k] - one[k]).flatten() for k in one]).norm()
    assert off < 1e-5 * torch.cat([g.flatten() for g in one.values()]).norm() and off < float("inf")


@pytest.mark.parametrize("name", JOBS)
def test_two_processes_train_like_one_and_go_on_where_they_were_stopped(together, tiny, tmp_path, name):
    for given_ in ("pairs", "one_sided", "beyond", "tied"):
        shutil.copytree(together / given_, tmp_path / given_)
    settings = {k: v for k, v in JOBS[name].items() if k != "sharded"}
    alone = align(job(tmp_path, f"{name}-alone", tiny, **settings), silent)["steps"]
    close = 5e-2 if "bfloat16" in name else 1e-5  # a norm's weights are rounded, too, and sums over a team have another order
    both = json.loads((together / f"{name}.json").read_text())
    for a, b in zip(alone, both, strict=True):
        for figure in ("loss", "chosen_logp", "rejected_logp", "gradient_norm", "reference_kl"):
            if a[figure] is None:  # no rejected answer in the batch
                assert b[figure] is None
            else:
                assert b[figure] == pytest.approx(a[figure], rel=close, abs=close), (a["step"], figure)
    assert alone[-1]["loss"] != pytest.approx(alone[0]["loss"], rel=1e-3)  # something was learnt
    one, two = (load_file(folder / "model" / "model.safetensors") for folder in (tmp_path / f"{name}-alone", together / name))
    start = load_file((together / "tied" if "tied" in name else tiny.path) / "model.safetensors")
    assert one.keys() == two.keys() == start.keys()
    moved = torch.cat([(one[k] - start[k]).flatten() for k in one]).norm()
    assert torch.cat([(one[k] - two[k]).flatten() for k in one]).norm() < (0.2 if "bfloat16" in name else 1e-2) * moved


def test_a_reference_that_moves_or_lies_elsewhere_makes_a_difference_to_a_team(together):
    """Negative control: losses against the fixed reference would not pass for these."""
    plain, *others = (
        [step["loss"] for step in json.loads((together / f"{name}.json").read_text())]
        for name in ("fsdp2", "ddp-ema", "fsdp2-ema-cut", "fsdp2-extrapolated")
    )
    assert all(abs(other[-1] - plain[-1]) > 1e-3 for other in others)


def test_process_0_alone_reads_a_model(together):
    first, second = (json.loads((together / f"loads-{rank}.json").read_text()) for rank in (0, 1))
    assert first.keys() == {"rank", *JOBS} and not second


def test_models_that_differ_are_not_taken_for_one_another(monkeypatch, tiny):
    model = empty_model(tiny.path, torch.float32)
    wide = load_model(tiny.path, torch.float32)
    wide.resize_token_embeddings(wide.config.vocab_size + 8)
    with pytest.raises(PlumblineError, match="cannot be trained by several"):
        team.fill(model, torch.device("cpu"), wide)


def test_going_on_in_a_team_gives_bitwise_the_weights_of_a_team_never_stopped(together):
    whole, cut = (load_file(together / name / "model" / "model.safetensors") for name in ("fsdp2", "fsdp2-cut"))
    assert all(torch.equal(whole[k], cut[k]) for k in whole)


def test_without_the_factor_for_averaging_the_gradient_would_be_another(together, given, tiny):
    """Negative control: half of it would not pass for all of it."""
    found = load_file(together / "ddp-dpo.safetensors")["lm_head.weight"]
    model = load_model(tiny.path, torch.float32).eval()
    accumulate(model, given, BATCHES["dpo"][0][:4], objective("dpo"), State(), 10**6, fresh_accelerator("float32"))
    one = model.lm_head.weight.grad
    assert (found - one).norm() > 1e-2 * one.norm()


def test_a_run_may_train_with_several_processes_and_leaves_none_behind(tiny, tmp_path):
    pairs = pairs_dataset(tmp_path / "pairs", tiny, 6)
    trainer = Trainer(tmp_path / "trainer.log", processes=2)
    named = {"path": str(tiny.path), "hash": tiny.hash}
    rows = trainer.run({"kind": "rank", "pairs": str(pairs.folder), "policy": named})["rows"]
    members = [trainer._process.pid, *(p.pid for p in trainer._others)]
    expected = all_logps(load_model(tiny.path, torch.float32).eval(), read_pairs(pairs.folder), 8192)
    assert [row["chosen_logp"] for row in rows] == pytest.approx(expected[:, 0].tolist(), abs=1e-4)
    with pytest.raises(PlumblineError, match="holds no pairs"):  # told once, by all together
        trainer.run({"kind": "rank", "pairs": str(pairs_dataset(tmp_path / "none", tiny, 0).folder), "policy": named})
    trainer.close()
    assert len(members) == 2 and not any(os.path.exists(f"/proc/{pid}") for pid in members)


def test_shares_are_even_and_nobody_goes_through_the_door_less_often(given, monkeypatch):
    monkeypatch.setattr(team, "size", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(team, "rank", lambda rank=rank: rank)
        shares.append(team.share(given.examples, range(8), 100))
    assert len({len(parts) for parts, _ in shares}) == 1
    assert sorted(i for parts, own in shares for part in parts[:own] for i in part) == list(range(8))
    loads = [sum(given.examples[i].tree_tokens for part in parts[:own] for i in part) for parts, own in shares]
    assert max(loads) - min(loads) <= max(e.tree_tokens for e in given.examples)


def test_a_launch_that_silently_starts_one_process_is_refused(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(PlumblineError, match="use torchrun"):
        team.join()


def test_a_split_model_is_never_whole_on_a_gpu_in_the_precision_of_its_layers(together):
    """Negative control: gathered in float32, autocast's copies of all layers stay until the backward pass."""
    kept = json.loads((together / "kept.json").read_text())
    assert kept["bfloat16"] == 0 < kept["float32"]


def test_what_is_kept_of_a_split_model_is_in_process_0_alone(monkeypatch):
    class Split(torch.Tensor):
        def full_tensor(self):
            return torch.arange(4.0)

    split = {"a": torch.zeros(2).as_subclass(Split), "b": torch.zeros(2).as_subclass(Split)}
    assert all(torch.equal(v, torch.arange(4.0)) for v in team.collected(split).values())
    monkeypatch.setattr(team, "rank", lambda: 1)
    assert team.collected(split) == {}


def test_more_processes_than_gpus_on_a_machine_are_refused_before_they_meet(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "")  # set by what is tested, and taken back
    monkeypatch.setattr(team.dist, "is_initialized", lambda: False)  # vLLM's engine, of other tests, is a team of one here
    with pytest.raises(PlumblineError, match="3 processes or more share this machine, and 2 GPUs"):
        team.join()
