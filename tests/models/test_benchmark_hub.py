"""A benchmark on the hub is read from the hub client's own cache, in both forms in which copies are published."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

from data_contracts.errors import PlumblineError
from models.benchmark import benchmark_name, load_benchmark
from models.benchmark_hub import open_benchmark

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FREE = {"problem_type": "free-form", "context": None, "prompt": "2 + 2?", "target": ["4", "four"], "benchmark_name": "GSM8k"}
CHOICE = {
    "problem_type": "multiple-choice",
    "context": "Purr.",
    "prompt": "Who?",
    "options": ["dogs", "cats"],
    "benchmark_name": "ARC",
}


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `snapshot_download` leaves: blobs aside, refs and one snapshot. The hub is never asked (HF_HUB_OFFLINE)."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "datasets--org--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    snapshot = repository / "snapshots" / COMMIT
    for place in ("mixeval-2024-08-11/mixeval-hard", "mixeval-2024-08-11/mixeval"):
        (snapshot / place).mkdir(parents=True)
        (snapshot / place / "free-form.json").write_text(json.dumps({"0": FREE}))
        (snapshot / place / "multiple-choice.json").write_text(json.dumps({"1999": CHOICE | {"target": [1]}}))
    (snapshot / "MixEval_Hard").mkdir()
    rows = [FREE | {"options": None, "problem_type": "free-form"}]
    pq.write_table(pa.Table.from_pylist(rows), snapshot / "MixEval_Hard" / "free_form-00000-of-00001.parquet")
    rows = [CHOICE | {"target": ["1"], "problem_type": "single-choice"}]
    pq.write_table(pa.Table.from_pylist(rows), snapshot / "MixEval_Hard" / "multiple_choice-00000-of-00001.parquet")
    return snapshot


def test_official_files_and_tables_hold_the_same_questions(cached: Path) -> None:
    files = open_benchmark("hub:org/name/mixeval-2024-08-11/mixeval-hard")
    tables = open_benchmark("hub:org/name/MixEval_Hard@main")
    assert [q.content for q in load_benchmark(files)] == [q.content for q in load_benchmark(tables)]
    assert benchmark_name(files) == "mixeval-hard-2024-08-11"
    assert benchmark_name(tables) == "mixeval-hard-01234567"  # no date anywhere, so the commit is the version


def test_a_folder_that_the_dataset_lacks_is_answered_with_those_it_has(cached: Path) -> None:
    with pytest.raises(PlumblineError, match=r"no benchmark in 'hard': it has MixEval_Hard, mixeval-2024-08-11/mixeval, mixeval"):
        open_benchmark("hub:org/name/hard")
    with pytest.raises(PlumblineError, match="no benchmark in"):
        open_benchmark("hub:org/name/../../../..")


@pytest.mark.parametrize("name", ["hub:", "hub:org", "hub:org/name@", "hub:org/na me/x"])
def test_a_malformed_name_is_refused(name: str) -> None:
    with pytest.raises(PlumblineError, match="write hub:org/name/folder"):
        open_benchmark(name)


def test_without_a_network_what_is_not_here_is_said_in_one_sentence(cached: Path) -> None:
    with pytest.raises(PlumblineError, match="is not on this machine and the hub cannot be reached") as error:
        open_benchmark("hub:org/other/mixeval")
    assert "\n" not in str(error.value)


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert open_benchmark(str(tmp_path)) == tmp_path


def test_a_damaged_table_is_named(cached: Path) -> None:
    (cached / "MixEval_Hard" / "free_form-00000-of-00001.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(PlumblineError, match=r"free_form-00000-of-00001\.parquet cannot be read"):
        load_benchmark(open_benchmark("hub:org/name/MixEval_Hard"))
