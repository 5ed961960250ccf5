"""One run of two small rounds through the real command for a whole test session: killed in its first round, and run again.

Starting an engine takes longer than a small round: what a killed run leaves and what a finished one holds is asked of one folder.
"""

import json
import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows import late
from flows.cli import app
from tests.end_to_end.command import PLUMBLINE, ROOT, SMALL, environment, left_running, plumbline


@dataclass(frozen=True)
class Killed:
    """What was to be seen after SIGKILL in the first round, before anybody went on."""

    home: Path
    run: Path
    beside: subprocess.CompletedProcess[str]  # the same command while the first one worked
    left: list[str]  # processes a while later
    finished: dict[Path, int]  # data files and when they were written
    tracked: tuple[str, str]  # the status in MLflow before and after `plumbline sync`
    synced: str  # what that said
    unended: dict[str, str]


def command(run: Path) -> list[str]:
    return ["run", "configs/demo.yaml", "--run-dir", str(run), *SMALL]


def written(run: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in run.rglob("data.parquet") if ".partial" not in str(p)}


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


@pytest.fixture(scope="session")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    home = tmp_path_factory.mktemp("home")
    run = home / "run"
    with (home / "out").open("wb") as out:
        process = subprocess.Popen([str(PLUMBLINE), *command(run)], cwd=ROOT, env=environment(home), stdout=out, stderr=out)
        _wait_for(run / "config.yaml", process)
        beside = plumbline(home, *command(run))
        _wait_for(run / "round-1" / "validate_pairs" / "manifest.json", process)
        os.kill(process.pid, signal.SIGSTOP)
        _wait_for(
            run / "tracking.json", process
        )  # MLflow is told of the start by another process, for which the stages do not wait
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    (home / "out").unlink()
    left = left_running(home)
    for _ in range(100):
        if not left:
            break
        time.sleep(0.1)
        left = left_running(home)
    finished, before = written(run), tracked(run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(late, "is_told", lambda _: True)  # MLflow alone: what Prefect has missed is told in tests/operate
        synced = CliRunner().invoke(app, ["sync", str(run)])
    return Killed(home, run, beside, left, finished, (before, tracked(run)), synced.output, unended(run))


@pytest.fixture(scope="session")
def finished(killed: Killed) -> subprocess.CompletedProcess[str]:
    """The same command again, which goes on to the end."""
    return plumbline(killed.home, *command(killed.run))


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    begin = time.monotonic()
    while not path.exists():
        assert process.poll() is None, "the run ended early"
        assert time.monotonic() - begin < 400, f"{path} did not appear"
        time.sleep(0.1)
