"""A run killed with SIGKILL loses nothing that was finished and leaves no process; resuming ends as if nothing had happened."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data_contracts.store import open_dataset
from flows.cli import app
from tests.end_to_end.command import PLUMBLINE, ROOT, SMALL, environment, left_running, plumbline

pytestmark = pytest.mark.engine


def wait_for(path: Path, process: subprocess.Popen[bytes], seconds: float) -> None:
    begin = time.monotonic()
    while not path.exists():
        assert process.poll() is None, "the run ended early"
        assert time.monotonic() - begin < seconds, f"{path} did not appear"
        time.sleep(0.1)


def tracked(run: Path) -> str:
    """The status of the run in MLflow."""
    from mlflow import MlflowClient

    known = json.loads((run / "tracking.json").read_text())["run_id"]
    return str(MlflowClient(f"sqlite:///{run}/mlflow.db").get_run(known).info.status)


def unended(run: Path) -> dict[str, str]:
    """The flow and task runs that the run's own Prefect server, itself ended, shows as running or waiting: their state."""
    with closing(sqlite3.connect(run / "prefect" / "prefect.db")) as file:
        rows = [file.execute(f"SELECT name, state_type FROM {table}_run").fetchall() for table in ("flow", "task")]
    return {name: state for name, state in (*rows[0], *rows[1]) if state not in ("COMPLETED", "FAILED", "CRASHED")}


def test_a_killed_run_resumes_where_it_stopped(tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["run", "configs/demo.yaml", "--run-dir", str(run), *SMALL, "--set", "rounds=1"]
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen([str(PLUMBLINE), *arguments], cwd=ROOT, env=environment(tmp_path), stdout=out, stderr=out)
        wait_for(run / "config.yaml", process, 400)
        busy = plumbline(tmp_path, *arguments)  # meanwhile nobody else may work on the folder
        wait_for(run / "tracking.json", process, 400)  # MLflow is told of the start beside the stages, which come first
        wait_for(run / "round-1" / "validate_pairs" / "manifest.json", process, 400)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert busy.returncode == 2
    assert "is working on" in busy.stderr
    for _ in range(100):
        if not left_running(tmp_path):
            break
        time.sleep(0.1)
    assert left_running(tmp_path) == []
    before = {p: p.stat().st_mtime_ns for p in run.rglob("data.parquet") if ".partial" not in str(p)}
    assert run / "round-1" / "validate_pairs" / "data.parquet" in before

    assert tracked(run) == "RUNNING"  # it had no time to say otherwise
    synced = CliRunner().invoke(app, ["sync", str(run)])
    assert synced.exit_code == 0 and "plumbline resume" in synced.output
    assert tracked(run) == "KILLED"
    assert {"demo", "round 1"} <= unended(run).keys()
    resumed = plumbline(tmp_path, "resume", str(run))
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert unended(run) == {}
    assert tracked(run) == "FINISHED"
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert open_dataset(run / "round-1" / "align").rows > 0
    assert (run / "round-1" / "decision.json").exists()
    assert not list(run.rglob("*.partial"))
