"""Reference log-probabilities: once, under a key that leaves nothing out, and never a silent gap."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from data_contracts.errors import PlumblineError
from models.checkpoint import load_model
from models.training.data import Example, read_pairs
from models.training.logps import all_logps, all_tree_logps
from models.training.reference import reference_key, stored_logps
from tests.pairs_dataset import pairs_dataset


@pytest.fixture(scope="module")
def data(tiny, tmp_path_factory):
    return read_pairs(pairs_dataset(tmp_path_factory.mktemp("data") / "pairs", tiny, 20).folder)


def test_recomputed_log_probabilities_are_bit_equal_and_so_are_stored_ones(tiny, data, tmp_path):
    def compute():
        return all_logps(load_model(tiny.path, torch.float32).eval(), data, 512)

    first, second = compute(), compute()
    assert torch.equal(first, second)
    assert torch.equal(stored_logps(tmp_path / "r.parquet", "k", data, lambda: (first, None))[0], first)
    assert torch.equal(stored_logps(tmp_path / "r.parquet", "k", data, lambda: pytest.fail("computed twice"))[0], first)


def test_another_key_computes_anew(data, tmp_path):
    zeros, ones = torch.zeros(20, 2), torch.ones(20, 2)
    assert torch.equal(stored_logps(tmp_path / "r.parquet", "a", data, lambda: (zeros, None))[0], zeros)
    assert torch.equal(stored_logps(tmp_path / "r.parquet", "b", data, lambda: (ones, None))[0], ones)


def test_the_key_leaves_nothing_out(data):
    changed = [*data[:-1], Example(data[-1].id, data[-1].prompt, (data[-1].answers[0], [*data[-1].answers[1], 5]))]
    keys = [
        reference_key("m", data, 8192, "float32", "cpu"),
        reference_key("n", data, 8192, "float32", "cpu"),
        reference_key("m", changed, 8192, "float32", "cpu"),
        reference_key("m", data[:-1], 8192, "float32", "cpu"),
        reference_key("m", data, 4096, "float32", "cpu"),
        reference_key("m", data, 8192, "bfloat16", "cpu"),
        reference_key("m", data, 8192, "float32", "cuda"),
    ]
    assert len(set(keys)) == len(keys)
    assert reference_key("m", list(data), 8192, "float32", "cpu") == keys[0]


def test_a_gap_is_refused_and_named(data, tmp_path):
    holed = torch.zeros(20, 2)
    holed[7, 1] = float("nan")
    with pytest.raises(PlumblineError, match="pair 'p7' no finite"):
        stored_logps(tmp_path / "r.parquet", "k", data, lambda: (holed, None))


def test_numbers_of_other_examples_are_refused_even_under_the_right_key(data, tmp_path):
    path = tmp_path / "r.parquet"
    table = pa.table({"id": [e.id for e in data[:19]], "logps": torch.zeros(19, 2).tolist()})
    pq.write_table(table.replace_schema_metadata({"key": "k"}), path)
    with pytest.raises(PlumblineError, match="other examples"):
        stored_logps(path, "k", data, lambda: (torch.zeros(20, 2), None))


def test_numbers_by_token_are_kept_where_asked_for_and_bit_equal(tiny, data, tmp_path):
    def compute():
        return all_tree_logps(load_model(tiny.path, torch.float32).eval(), data, 512)

    path, (total, tokens) = tmp_path / "r.parquet", compute()
    assert stored_logps(path, "k", data, compute)[1] is None
    for again in (compute, lambda: pytest.fail("computed twice")):  # the file without tokens does not serve, the next one does
        sums, by_token = stored_logps(path, "k", data, again, by_token=True)
        assert torch.equal(sums, total) and all(torch.equal(a, b) for a, b in zip(by_token, tokens, strict=True))
    for example, row, values in zip(data, total, tokens, strict=True):
        assert values.shape == (2, max(map(len, example.answers)))
        torch.testing.assert_close(values.sum(-1), row, rtol=1e-6, atol=1e-6)
