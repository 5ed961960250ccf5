"""A run killed with SIGKILL loses nothing that was finished and leaves no process; run again, it ends as if nothing happened."""

import subprocess

import pytest

from data_contracts.store import open_dataset
from tests.end_to_end.killed import Killed, tracked, unended, written

pytestmark = pytest.mark.engine


def test_meanwhile_nobody_else_works_on_the_folder(killed: Killed) -> None:
    assert killed.beside.returncode == 2
    assert "is working on" in killed.beside.stderr


def test_a_killed_run_leaves_no_process(killed: Killed) -> None:
    assert killed.left == []


def test_a_killed_run_is_running_for_all_that_mlflow_knows_until_it_is_synced(killed: Killed) -> None:
    assert killed.tracked == ("RUNNING", "KILLED")  # it had no time to say otherwise
    assert "plumbline resume" in killed.synced
    assert {"demo", "round 1"} <= killed.unended.keys()


def test_a_killed_run_goes_on_where_it_stopped(killed: Killed, finished: subprocess.CompletedProcess[str]) -> None:
    assert finished.returncode == 0, finished.stdout + finished.stderr
    run = killed.run
    assert unended(run) == {}
    assert tracked(run) == "FINISHED"
    assert run / "round-1" / "validate_pairs" / "data.parquet" in killed.finished
    assert {p: when for p, when in written(run).items() if p in killed.finished} == killed.finished
    assert open_dataset(run / "round-1" / "align").rows > 0
    assert (run / "round-1" / "decision.json").exists()
    assert not list(run.rglob("*.partial"))
