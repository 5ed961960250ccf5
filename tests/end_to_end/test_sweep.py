"""A small sweep through the real command: what cells share is made once, and a failed cell costs the others nothing."""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.command import PLUMBLINE, ROOT, environment, left_running, plumbline


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def stopped(home: Path) -> dict[str, str]:
    """The sweep's runs in MLflow by status, after a SIGTERM in the middle of its first training.

    Two objectives on one preference file, and a third cell whose training cannot work.
    """
    pairs = (ROOT / "configs" / "example_pairs.jsonl").read_text().splitlines()[:48]
    (home / "pairs.jsonl").write_text("\n".join(pairs))
    cells = {name: {"align.objective": {"name": name}} for name in ("apo_zero", "dpo")}
    broken = {"align.objective": {"name": "dpo"}, "align.learning_rate": 1e30, "align.epochs": 2}
    keys = {"pairs.file": "pairs.jsonl", "validate.min_rows": 8, "align.batch_size": 16}
    sweep = {"name": "small", "base": str(ROOT / "configs" / "human_pairs.yaml"), "set": keys}
    (home / "sweep.yaml").write_text(yaml.safe_dump(sweep | {"grid": {"objective": cells | {"broken": broken}, "seed": [0]}}))
    with (home / "out").open("wb") as out:
        process = subprocess.Popen([str(PLUMBLINE), *command(home)], cwd=ROOT, env=environment(home), stdout=out, stderr=out)
        begin = time.monotonic()
        while not list(home.glob("run/cells/*/.align.partial")):
            assert process.poll() is None and time.monotonic() - begin < 400, (home / "out").read_text()
            time.sleep(0.05)
        process.terminate()
        process.wait(120)
    return status(home)


@pytest.fixture(scope="module")
def done(home: Path, stopped: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The same command again."""
    return plumbline(home, *command(home))


def command(home: Path) -> list[str]:
    return ["sweep", str(home / "sweep.yaml"), "--run-dir", str(home / "run")]


def status(home: Path) -> dict[str, str]:
    """Of every run that MLflow knows, by name."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{home}/run/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    return {run.info.run_name: run.info.status for run in runs}


def test_a_sweep_that_was_terminated_says_so(home: Path, stopped: dict[str, str]) -> None:
    assert stopped == {"small": "KILLED", "apo_zero-0": "KILLED"}, (home / "run" / "logs" / "run.log").read_text()[-4000:]


def test_a_failed_cell_is_told_and_the_others_are_there(home: Path, done: subprocess.CompletedProcess[str]) -> None:
    log = home / "run" / "logs" / "run.log"
    assert done.returncode == 2, done.stdout + done.stderr + (log.read_text()[-4000:] if log.exists() else "")
    assert "1 of 3 cells failed, the first broken-0 (training stopped at step" in done.stderr
    assert "2 of 3 cells finished" in done.stdout
    assert re.search(r"^ *apo_zero +0\.\d{3} ", done.stdout, re.M) and re.search(r"^ *broken +– ", done.stdout, re.M)
    found = {cell["cell"]: cell for cell in json.loads((home / "run" / "cells.json").read_text())["cells"]}
    assert {name: cell["state"] for name, cell in found.items()} == {
        "apo_zero-0": "finished",
        "dpo-0": "finished",
        "broken-0": "failed",
    }
    assert found["apo_zero-0"]["start"] == found["dpo-0"]["start"]
    report = (home / "run" / "cells" / "broken-0" / "report.html").read_text(
        encoding="utf-8"
    )  # of what there was until it failed
    assert "<dt>Stopped</dt><dd>Training stopped at step" in report and 'id="pairs"' in report and 'class="card"' in report
    assert left_running(home) == []


def test_what_cells_share_is_made_once(home: Path, done: subprocess.CompletedProcess[str]) -> None:
    cells = home / "run" / "cells"
    for stage in ("import", "validate_pairs", "train", "held_out", "rank_before"):
        assert len({(cells / cell / stage / "data.parquet").stat().st_ino for cell in ("apo_zero-0", "dpo-0", "broken-0")}) == 1
    assert len({(cells / cell / "align" / "data.parquet").stat().st_ino for cell in ("apo_zero-0", "dpo-0")}) == 2
    assert len(list((home / "run" / "shared" / "references").glob("*.parquet"))) == 1


def test_mlflow_has_a_run_a_cell(home: Path, done: subprocess.CompletedProcess[str]) -> None:
    assert status(home) == {"small": "FAILED", "apo_zero-0": "FINISHED", "dpo-0": "FINISHED", "broken-0": "FAILED"}
    assert not list((home / "run" / "cells").glob("*/mlflow.db"))
