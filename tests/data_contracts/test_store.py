import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts.errors import PlumblineError
from data_contracts.records import PROMPTS
from data_contracts.store import build, dataset_key, file_digest, open_dataset, shared, sharing

ROWS = [{"prompt_id": "a", "prompt": [{"role": "user", "content": "hello"}]}]


class Stage:
    """Makes ROWS and counts how often."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, work: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        self.runs += 1
        (work / "extra.txt").write_text("kept")
        return ROWS, {"prompts": len(ROWS)}


def test_a_dataset_is_made_once_and_skipped_when_it_is_there(tmp_path: Path) -> None:
    stage = Stage()
    first = build(tmp_path / "d", "prompts", {"n": 1}, stage)
    again = build(tmp_path / "d", "prompts", {"n": 1}, stage)
    assert stage.runs == 1
    assert again.records() == first.records() == ROWS
    assert again.facts == {"prompts": 1} and (first.folder / "extra.txt").read_text() == "kept"
    assert first.table().schema == PROMPTS


def test_another_setting_parent_or_model_is_refused_and_nothing_is_overwritten(tmp_path: Path) -> None:
    stage = Stage()
    parent = build(tmp_path / "parent", "prompts", {}, Stage())
    made = build(tmp_path / "d", "prompts", {"n": 1}, stage)
    for config, parents, models in (({"n": 2}, [], {}), ({"n": 1}, [parent], {}), ({"n": 1}, [], {"policy": "h"})):
        with pytest.raises(PlumblineError, match="made from other inputs or settings"):
            build(tmp_path / "d", "prompts", config, stage, parents, models)
    assert stage.runs == 1
    assert open_dataset(tmp_path / "d").key == made.key


def test_the_key_depends_on_everything_that_decides_the_content_and_on_no_order(tmp_path: Path) -> None:
    parent = build(tmp_path / "parent", "prompts", {}, Stage())
    keys = [
        dataset_key("prompts", {"a": 1, "b": 2}),
        dataset_key("samples", {"a": 1, "b": 2}),
        dataset_key("prompts", {"a": 1, "b": 3}),
        dataset_key("prompts", {"a": 1, "b": 2}, [parent]),
        dataset_key("prompts", {"a": 1, "b": 2}, [], {"policy": "x"}),
        dataset_key("prompts", {"a": 1, "b": 2}, [], {"policy": "y"}),
    ]
    assert len(set(keys)) == len(keys)
    assert dataset_key("prompts", {"b": 2, "a": 1}) == keys[0]


def test_a_manifest_is_the_same_whatever_the_machine_calls_text(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom data_contracts.store import build\n"
        "facts = {'judge': '\\u5224 \\u2013'}\n"
        "print(build(Path(sys.argv[1]), 'prompts', {}, lambda _: ([], facts)).facts == facts)"
    )
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": os.getcwd()}  # ASCII
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "d")], env=plain, capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
    assert open_dataset(tmp_path / "d").facts == {"judge": "判 –"}


def test_a_stage_that_fails_leaves_no_dataset_and_its_leftovers_do_no_harm(tmp_path: Path) -> None:
    def fails(work: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        (work / "half.txt").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        build(tmp_path / "d", "prompts", {}, fails)
    assert not (tmp_path / "d").exists()
    made = build(tmp_path / "d", "prompts", {}, Stage())
    assert made.rows == 1 and not (made.folder / "half.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_a_folder_without_a_manifest_is_an_unfinished_leftover(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "data.parquet").write_bytes(b"half")
    with pytest.raises(PlumblineError, match="no finished dataset"):
        open_dataset(tmp_path / "d")
    assert build(tmp_path / "d", "prompts", {}, Stage()).rows == 1


def test_a_changed_data_file_is_noticed(tmp_path: Path) -> None:
    made = build(tmp_path / "d", "prompts", {}, Stage())
    data = made.folder / "data.parquet"
    content = data.read_bytes()
    data.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    with pytest.raises(PlumblineError, match="was changed after it was finished"):
        open_dataset(made.folder)
    with pytest.raises(PlumblineError, match="was changed after it was finished"):
        build(made.folder, "prompts", {}, Stage())
    data.write_bytes(content)
    assert open_dataset(made.folder).records() == ROWS


def _corrupt(data: Path) -> None:
    content = bytearray(data.read_bytes())
    content[4:40] = b"x" * 36  # inside the first column's pages: the footer, read when a dataset is opened, is whole
    data.write_bytes(content)


@pytest.mark.parametrize(
    ("forge", "said"),
    [
        (lambda data: data.write_bytes(b""), "is not a Parquet file"),
        (lambda data: data.write_bytes(data.read_bytes()[:-9]), "is not a Parquet file"),
        (lambda data: pq.write_table(pa.table({"prompt_id": ["a", "b"]}), data), "holds other rows"),
        (lambda data: pq.write_table(pa.table({"other": ["a"]}), data), "or columns than its manifest"),
        (lambda data: pq.write_table(pa.table({"prompt_id": [1]}), data), "or columns than its manifest"),
        (_corrupt, "is not a whole Parquet file"),
    ],
)
def test_a_data_file_that_was_forged_with_its_manifest_is_one_sentence(
    forge: Callable[[Path], object], said: str, tmp_path: Path
) -> None:
    folder = build(tmp_path / "d", "prompts", {}, Stage()).folder
    forge(folder / "data.parquet")
    told = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(told | {"data": file_digest(folder / "data.parquet")}))
    with pytest.raises(PlumblineError, match=said):
        open_dataset(folder).records()


@pytest.mark.parametrize("text", ['{"kind":', "[]", "{}", "[" * 100_000, "\xff"])
def test_a_damaged_manifest_is_one_sentence_that_names_it(tmp_path: Path, text: str) -> None:
    folder = build(tmp_path / "pairs", "pairs", {}, lambda _: ([], {})).folder
    open_dataset(folder)
    (folder / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(PlumblineError, match=r"manifest\.json is (damaged|no dataset's manifest)"):
        open_dataset(folder)


def test_the_manifest_names_kind_parents_models_and_settings(tmp_path: Path) -> None:
    parent = build(tmp_path / "parent", "prompts", {}, Stage())
    made = build(tmp_path / "round-1" / "d", "prompts", {"n": 1}, Stage(), [parent], {"policy": "h"})
    manifest = json.loads((made.folder / "manifest.json").read_text())
    assert (manifest["kind"], manifest["rows"], manifest["config"], manifest["models"]) == (
        "prompts",
        1,
        {"n": 1},
        {"policy": "h"},
    )
    (told,) = manifest["parents"]
    assert (made.folder / told["folder"]).resolve() == parent.folder and told["key"] == parent.key


def test_rows_that_do_not_fit_the_schema_make_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"(?i)expected|convert|struct"):
        build(tmp_path / "d", "prompts", {}, lambda _: ([{"prompt_id": "a", "prompt": "text"}], {}))
    assert not (tmp_path / "d").exists()


def test_shared_datasets_are_made_once_wherever_they_are_asked_for(tmp_path: Path) -> None:
    stage = Stage()
    with sharing(tmp_path / "shared"):
        first = build(tmp_path / "a" / "d", "prompts", {"n": 1}, stage)
        (tmp_path / "b" / "d").mkdir(parents=True)  # an unfinished leftover
        second = build(tmp_path / "b" / "d", "prompts", {"n": 1}, stage)
        assert stage.runs == 1
        assert second.folder == tmp_path / "b" / "d" and second.records() == ROWS
        assert second.manifest == first.manifest | {"linked": True}
        assert (second.folder / "extra.txt").stat().st_ino == (first.folder / "extra.txt").stat().st_ino  # no second copy
        build(tmp_path / "c" / "d", "prompts", {"n": 2}, stage)
        assert stage.runs == 2
        with pytest.raises(PlumblineError, match="other inputs or settings"):
            build(tmp_path / "c" / "d", "prompts", {"n": 1}, stage)
    assert shared("x") is None
    build(tmp_path / "e" / "d", "prompts", {"n": 1}, stage)
    assert stage.runs == 3
    assert not list(tmp_path.rglob("*.partial"))
