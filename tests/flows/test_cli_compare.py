"""compare, rollback and sync as a user gives them."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from data_contracts.errors import PlumblineError
from flows import services
from flows.cli import app
from flows.lock import locked
from flows.processes import identify
from tasks.lineage import read_rollbacks
from tests.end_to_end.command import ROOT
from tests.tasks.run_folder import make_human_run, make_run
from tests.tasks.test_tracking import trackable


@pytest.fixture
def run(tmp_path: Path, empty_store: Path) -> Path:
    folder = trackable(make_run(tmp_path / "run"))
    shutil.copy(empty_store, folder / "mlflow.db")
    return folder


def plumbline(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_a_comparison_is_a_table_or_json(run: Path) -> None:
    shown = plumbline("compare", f"{run}#round-0", run)
    assert shown.exit_code == 0 and "B is better" in shown.output and "wrong to right" in shown.output
    found = json.loads(plumbline("compare", f"{run}#round-0", run, "--json").output)
    assert (found["a"]["round"], found["b"]["round"]) == (0, 2) and found["scores"][0]["significant"]


def test_a_rollback_is_done_once_and_told(run: Path) -> None:
    first = plumbline("rollback", run, "--reason", "worse in use")
    assert first.exit_code == 0 and "round-1 is champion again (it was round-2)" in first.output
    assert "knows everything" in first.output
    again = plumbline("rollback", run, "--reason", "worse in use")
    assert "round-1 is champion already: nothing changed" in again.output
    assert [r.reason for r in read_rollbacks(run)] == ["worse in use"]
    assert plumbline("rollback", run).exit_code == 2  # no reason
    assert isinstance(plumbline("rollback", run, "--to", "round-9", "--reason", "x").exception, PlumblineError)


def test_a_cell_of_a_sweep_is_not_rolled_back(run: Path, tmp_path: Path) -> None:
    cell = tmp_path / "grid" / "cells" / "0"
    shutil.copytree(run, cell)
    (tmp_path / "grid" / "sweep.yaml").touch()
    refused = plumbline("rollback", cell, "--reason", "worse in use").exception
    assert isinstance(refused, PlumblineError) and "cell of a sweep" in str(refused)
    assert read_rollbacks(cell) == []


def test_an_alignment_on_a_preference_file_has_no_rounds_to_roll_back(tmp_path: Path) -> None:
    refused = plumbline("rollback", make_human_run(tmp_path / "human"), "--reason", "worse in use").exception
    assert isinstance(refused, PlumblineError) and "one alignment on a preference file" in str(refused)
    assert "began with is still in student" in str(refused) and "start is champion" not in str(refused)


def test_an_outage_does_not_undo_a_rollback(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    done = plumbline("rollback", run, "--reason", "worse in use")
    assert done.exit_code == 0 and "MLflow could not be told" in done.output and "plumbline sync" in done.output
    assert len(read_rollbacks(run)) == 1
    assert isinstance(plumbline("sync", run).exception, PlumblineError)
    assert f"MLflow was not told everything: plumbline sync {run}" in plumbline("status", run).output
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert "knows everything" in plumbline("sync", run).output
    assert "MLflow" not in plumbline("status", run).output


def test_sync_says_what_stopped_a_run_and_leaves_one_alone_that_works(run: Path) -> None:
    (run / "round-2" / "decision.json").unlink()
    with locked(run):
        busy = plumbline("sync", run).exception
    assert isinstance(busy, PlumblineError) and "is working on" in str(busy) and "by itself" in str(busy)
    assert not (run / "failed.json").exists()
    done = plumbline("sync", run)
    assert done.exit_code == 0 and f"plumbline resume {run} goes on" in done.output
    assert isinstance(plumbline("sync", run.parent).exception, PlumblineError)  # no run, no sweep


def test_what_a_server_is_to_be_told_is_told_no_store_of_its_own(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the servers of `plumbline up` down, sync made a store in the run's folder and said that it knows everything."""
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")  # so that what is set here is taken back afterwards
        monkeypatch.delenv(name)
    own = run / "mlflow.db"
    store = own.rename(run / "kept.db")
    servers = run.parent / "services"
    servers.mkdir()
    standing_in = subprocess.Popen(["sleep", "60"], start_new_session=True)
    gone = replace(identify(standing_in.pid), boot="an earlier one")
    known = {name: services.Service(name, "http://127.0.0.1:1", gone, "SQLite") for name in ("prefect", "mlflow")}
    services._write(servers, known)
    refused = plumbline("sync", run).exception
    assert isinstance(refused, PlumblineError) and "(they are not running): plumbline up" in str(refused)
    assert "plumbline sync" in plumbline("rollback", run, "--reason", "worse in use").output
    services._write(servers, known | {"prefect": replace(known["prefect"], process=identify(standing_in.pid))})
    for command in (("sync", run), ("deploy", ROOT / "configs" / "demo.yaml", "--services", servers)):
        assert "(only Prefect is running): plumbline up" in str(plumbline(*command).exception)
    standing_in.kill()
    standing_in.wait()
    assert not own.exists()
    store.rename(own)  # a run that began without servers has one, which goes on to be told
    assert "knows everything" in plumbline("sync", run).output
