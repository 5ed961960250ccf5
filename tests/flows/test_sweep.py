"""A sweep does what is left of it and no more."""

import shutil
from pathlib import Path

import pytest
import yaml

import flows.sweep
from data_contracts.config_sweep import Cell, Sweep, load_sweep
from data_contracts.errors import PlumblineError
from data_contracts.load_config import dump_config
from flows.session import check_inputs, open_models
from tasks.failure import write_failure
from tasks.sweep import cell_folder
from tasks.tracking_client import tracking_uri
from tests.tasks.run_folder import make_human_run

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def load(tmp_path: Path, **keys: object) -> Sweep:
    path = tmp_path / "small.yaml"
    path.write_text(
        yaml.safe_dump({"name": "small", "base": str(CONFIGS / "human_pairs.yaml"), "grid": {"seed": [0, 1, 2]}} | keys)
    )
    return load_sweep(path)


@pytest.fixture
def begun(tmp_path: Path, empty_store: Path) -> Path:
    """Of three cells one is finished and one failed."""
    folder = tmp_path / "run"
    first, second, _ = load(tmp_path).cells
    for cell in (first, second):
        run = make_human_run(cell_folder(folder, cell))
        (run / "config.yaml").write_text(dump_config(cell.config))
        (run / "report.html").touch()
    write_failure(cell_folder(folder, second), "the disk was full")
    shutil.copy(empty_store, folder / "mlflow.db")
    return folder


def test_finished_cells_are_not_run_again_and_failed_ones_are(
    tmp_path: Path, begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Cell] = []
    monkeypatch.setattr(flows.sweep, "_run", lambda sweep, folder, left: ran.extend(left))
    results = flows.sweep.execute_sweep(load(tmp_path), begun)
    assert [cell.label for cell in ran] == ["1", "2"]
    assert [r.state for r in results] == ["finished", "failed", "waiting"]
    assert tracking_uri(begun).endswith("/run/mlflow.db") and (begun / "table.md").exists()
    ran.clear()
    flows.sweep.execute_sweep(load(tmp_path, grid={"seed": [0]}), begun)
    assert ran == []


@pytest.mark.parametrize("key", ["policy", "teacher.model", "method"])
def test_a_cell_whose_model_cannot_be_used_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setattr(flows.sweep, "open_lender", lambda *given: pytest.fail("it was started"))
    (tmp_path / "empty").mkdir()
    delta = {"name": "delta", "stronger": "policy", "weaker": {"kind": "checkpoint", "model": str(tmp_path / "empty")}}
    other = delta if key == "method" else str(tmp_path / "empty")
    grid = {"seed": [0, 1], "what": {"good": {"rounds": 1}, "bad": {key: other}}}
    sweep = load(tmp_path, base=str(CONFIGS / "demo.yaml"), grid=grid)
    with pytest.raises(PlumblineError, match=r"^cell 0-bad: .*/empty holds no model, since config\.json is missing"):
        flows.sweep.execute_sweep(sweep, tmp_path / "run")
    assert not (tmp_path / "run" / "cells").exists()


def test_cells_on_other_data_are_not_added_to_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was changed in the middle of a sweep left a table of cells on the old beside cells on the new."""
    pairs = tmp_path / "mine.jsonl"
    lines = (CONFIGS / "example_pairs.jsonl").read_text().splitlines(keepends=True)
    pairs.write_text("".join(lines))
    sweep, folder = load(tmp_path, set={"pairs.file": "mine.jsonl"}), tmp_path / "run"
    run = make_human_run(cell_folder(folder, sweep.cells[0]))
    (run / "config.yaml").write_text(dump_config(sweep.cells[0].config))
    (run / "report.html").touch()
    check_inputs(run, sweep.cells[0].config, *open_models(sweep.cells[0].config))
    monkeypatch.setattr(flows.sweep, "open_lender", lambda *given: pytest.fail("started"))
    with pytest.raises(pytest.fail.Exception, match="started"):
        flows.sweep.execute_sweep(sweep, folder)
    pairs.write_text("".join(lines[:-1]))
    with pytest.raises(PlumblineError, match=r"^cell 0: pairs\.file was changed since the run in .*/cells/0 began: put it back"):
        flows.sweep.execute_sweep(sweep, folder)


def test_a_cell_whose_file_holds_no_pairs_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.sweep, "_run", lambda *given: pytest.fail("it was started"))
    (tmp_path / "mine.jsonl").write_text('{"question": "Why?", "yes": "so", "no": "no"}\n')
    mine = {"pairs.file": "mine.jsonl"}
    named = {"pairs.prompt": "question", "pairs.chosen": "yes", "pairs.rejected": "no"}
    with pytest.raises(PlumblineError, match=r"^cell mine: .*mine\.jsonl is no preference file"):
        flows.sweep.execute_sweep(load(tmp_path, grid={"data": {"named": mine | named, "mine": mine}}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_cell_that_was_run_otherwise_is_refused_before_anything_starts(
    tmp_path: Path, begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.sweep, "_run", lambda *given: pytest.fail("it was started"))
    with pytest.raises(PlumblineError, match=r"cell 0: .*another configuration .align.epochs was 1, is 3"):
        flows.sweep.execute_sweep(load(tmp_path, set={"align.epochs": 3}), begun)
