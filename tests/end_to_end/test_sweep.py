"""A small sweep through the real command: what cells share is made once, and a failed cell costs the others nothing."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.command import ROOT, left_running, plumbline


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def done(home: Path) -> subprocess.CompletedProcess[str]:
    """Two objectives on one preference file, and a third cell whose training cannot work."""
    pairs = (ROOT / "configs" / "example_pairs.jsonl").read_text().splitlines()[:48]
    (home / "pairs.jsonl").write_text("\n".join(pairs))
    cells = {name: {"align.objective": {"name": name}} for name in ("apo_zero", "dpo")}
    broken = {"align.objective": {"name": "dpo"}, "align.learning_rate": 1e30, "align.epochs": 2}
    keys = {"pairs.file": "pairs.jsonl", "validate.min_rows": 8, "align.batch_size": 16}
    sweep = {"name": "small", "base": str(ROOT / "configs" / "human_pairs.yaml"), "set": keys}
    (home / "sweep.yaml").write_text(yaml.safe_dump(sweep | {"grid": {"objective": cells | {"broken": broken}, "seed": [0]}}))
    return plumbline(home, "sweep", str(home / "sweep.yaml"), "--run-dir", str(home / "run"))


def test_a_failed_cell_is_told_and_the_others_are_there(home: Path, done: subprocess.CompletedProcess[str]) -> None:
    log = home / "run" / "logs" / "run.log"
    assert done.returncode == 2, done.stdout + done.stderr + (log.read_text()[-4000:] if log.exists() else "")
    assert "1 of 3 cells failed, the first broken-0 (training stopped at step" in done.stderr
    assert "2 of 3 cells finished" in done.stdout and "| apo_zero | 0." in done.stdout and "| broken | –" in done.stdout
    found = {cell["cell"]: cell for cell in json.loads((home / "run" / "cells.json").read_text())["cells"]}
    assert {name: cell["state"] for name, cell in found.items()} == {
        "apo_zero-0": "finished",
        "dpo-0": "finished",
        "broken-0": "failed",
    }
    assert found["apo_zero-0"]["start"] == found["dpo-0"]["start"]
    assert left_running(home) == []


def test_what_cells_share_is_made_once(home: Path, done: subprocess.CompletedProcess[str]) -> None:
    cells = home / "run" / "cells"
    for stage in ("import", "validate_pairs", "train", "held_out", "rank_before"):
        assert len({(cells / cell / stage / "data.parquet").stat().st_ino for cell in ("apo_zero-0", "dpo-0", "broken-0")}) == 1
    assert len({(cells / cell / "align" / "data.parquet").stat().st_ino for cell in ("apo_zero-0", "dpo-0")}) == 2
    assert len(list((home / "run" / "shared" / "references").glob("*.parquet"))) == 1


def test_mlflow_has_a_run_a_cell(home: Path, done: subprocess.CompletedProcess[str]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{home}/run/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    status = {run.info.run_name: run.info.status for run in runs}
    assert status == {"small": "FAILED", "apo_zero-0": "FINISHED", "dpo-0": "FINISHED", "broken-0": "FAILED"}
    assert not list((home / "run" / "cells").glob("*/mlflow.db"))
