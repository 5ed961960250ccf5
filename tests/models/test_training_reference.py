"""Reference log-probabilities: once, under a key that leaves nothing out, and never a silent gap."""

import shutil

import pytest
import torch

from data_contracts.errors import PlumblineError
from data_contracts.store import digest
from models.checkpoint import load_model, open_checkpoint
from models.training import prepare
from models.training.data import Example, read_pairs
from models.training.logps import all_tree_logps
from models.training.reference import cache_of, reference_key, stored_logps
from tests.models.test_training_loop import run
from tests.pairs_dataset import pairs_dataset


@pytest.fixture(scope="module")
def data(tiny, tmp_path_factory):
    return read_pairs(pairs_dataset(tmp_path_factory.mktemp("data") / "pairs", tiny, 20).folder)


KEY = {"model": "m", "tokens": "t"}


def numbers(data, value):
    """Sums and tokens that are all `value`."""
    return torch.full((len(data), 2), value), [torch.full((2, max(e.lengths)), value) for e in data]


def never():
    pytest.fail("computed twice")


def same(one, other):
    return torch.equal(one[0], other[0]) and all(torch.equal(a, b) for a, b in zip(one[1], other[1], strict=True))


def test_recomputed_log_probabilities_are_bit_equal_and_so_are_stored_ones(tiny, data, tmp_path):
    def compute():
        return all_tree_logps(load_model(tiny.path, torch.float32).eval(), data, 512)

    first = compute()
    assert same(first, compute())
    assert same(stored_logps(tmp_path, KEY, data, lambda: first), first)
    assert same(stored_logps(tmp_path, KEY, data, never), first)
    for example, row, values in zip(data, *first, strict=True):
        assert values.shape == (2, max(map(len, example.answers)))
        torch.testing.assert_close(values.sum(-1), row, rtol=1e-6, atol=1e-6)


def test_one_folder_serves_many_keys_and_each_but_once(data, tmp_path):
    zeros, ones = numbers(data, 0.0), numbers(data, 1.0)
    assert same(stored_logps(tmp_path, KEY, data, lambda: zeros), zeros)
    assert same(stored_logps(tmp_path, KEY | {"model": "n"}, data, lambda: ones), ones)
    assert same(stored_logps(tmp_path, KEY, data, never), zeros)
    assert same(stored_logps(tmp_path, KEY | {"model": "n"}, data, never), ones)


def test_the_key_leaves_nothing_out(data, monkeypatch):
    changed = [*data[:-1], Example(data[-1].id, data[-1].prompt, (data[-1].answers[0], [*data[-1].answers[1], 5]))]
    asked = [
        ("m", data, "float32", "cpu", "sdpa"),
        ("n", data, "float32", "cpu", "sdpa"),
        ("m", changed, "float32", "cpu", "sdpa"),
        ("m", data[:-1], "float32", "cpu", "sdpa"),
        ("m", data, "bfloat16", "cpu", "sdpa"),
        ("m", data, "float32", "cuda", "sdpa"),
        ("m", data, "float32", "cpu", "flex"),
    ]
    keys = [digest(reference_key(*key)) for key in asked]
    assert len(set(keys)) == len(keys)
    assert digest(reference_key("m", list(data), "float32", "cpu", "sdpa")) == keys[0]
    assert reference_key(*asked[0])["truncation"] == "none"
    for place, value in (("team.size", lambda: 2), ("reference.FORWARD", 99), ("reference.MICRO_BATCH", 1)):
        with monkeypatch.context() as patch:
            patch.setattr(f"models.training.{place}", value)
            assert digest(reference_key(*asked[0])) not in keys


def test_another_tokenizer_or_template_is_another_key(tiny, tmp_path):
    """Which the checkpoint's hash covers."""
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        shutil.copytree(tiny.path, tmp_path / name)
        file = tmp_path / name / name
        file.write_text((file.read_text() if file.exists() else "") + "\n")
        assert open_checkpoint(tmp_path / name).hash != tiny.hash


def test_a_gap_is_refused_and_named_and_not_kept(data, tmp_path):
    holed = numbers(data, 0.0)
    holed[0][7, 1] = float("nan")
    with pytest.raises(PlumblineError, match="pair 'p7' no finite"):
        stored_logps(tmp_path, KEY, data, lambda: holed)
    assert not list(tmp_path.iterdir())


def test_numbers_of_other_examples_are_refused_even_under_the_right_key(data, tmp_path):
    stored_logps(tmp_path, KEY, data[:19], lambda: numbers(data[:19], 0.0))
    with pytest.raises(PlumblineError, match="other examples"):
        stored_logps(tmp_path, KEY, data, never)


def test_a_sweep_over_objectives_asks_the_reference_once(tiny, tmp_path, monkeypatch):
    pairs = pairs_dataset(tmp_path / "pairs", tiny, 8)
    first = run(pairs, tmp_path / "dpo", tiny, name="dpo", cache=tmp_path / "cache")
    kept = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()}
    monkeypatch.setattr(prepare, "all_tree_logps", lambda *_: never())
    second = run(pairs, tmp_path / "apo", tiny, name="apo_zero", learning_rate=1e-4, batch_size=4, cache=tmp_path / "cache")
    assert {file.name: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()} == kept and len(kept) == 1
    assert first["steps"][0]["margin"] == pytest.approx(0, abs=1e-3) == second["steps"][0]["margin"]
    assert cache_of(pairs.folder) == tmp_path / ".pairs.reference"
