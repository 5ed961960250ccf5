"""Who may be told as crashed stands in the folder's book; the telling itself is tested on a real server (tests/operate)."""

import json
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from flows import book, crashed
from flows.lock import locked


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each time that Prefect was asked; it refuses. The flow run that works has the id "second"."""
    times = list[str]()

    def refuse(**_: object) -> None:
        times.append("asked")
        raise httpx.ConnectError("no route")

    monkeypatch.setattr(crashed, "get_client", refuse)
    monkeypatch.setattr(crashed, "runtime", SimpleNamespace(flow_run=SimpleNamespace(id="second", run_count=1)))
    return times


def begun(folder: Path) -> Path:
    """A folder on which the flow run "first" worked."""
    folder.mkdir()
    with locked(folder):
        lock = (folder / ".lock").stat().st_ino
    (folder / "flow_runs.json").write_text(json.dumps({"lock": lock, "runs": {"first": 2}}))
    return folder


def test_a_server_that_refuses_costs_no_run_and_is_asked_again(tmp_path: Path, asked: list[str]) -> None:
    folder = begun(tmp_path / "run")
    for times in (1, 2):
        with locked(folder):
            crashed.tell_crashed(folder)
        assert asked == ["asked"] * times and book.read(folder) == {"first": 2, "second": 1}


@pytest.mark.usefixtures("asked")
def test_a_first_flow_run_and_that_of_a_copy_know_nobody(tmp_path: Path) -> None:
    original, copy = begun(tmp_path / "original"), tmp_path / "copy"
    copy.mkdir()
    (copy / "flow_runs.json").write_bytes((original / "flow_runs.json").read_bytes())
    (tmp_path / "new").mkdir()
    for folder in (copy, tmp_path / "new"):
        with locked(folder):
            crashed.tell_crashed(folder)
        assert book.read(folder) == {"second": 1}


@pytest.mark.usefixtures("asked")
def test_who_comes_to_the_end_signs_out_and_whoever_is_killed_does_not(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    assert not book.was_cut_short(folder)
    with locked(folder):
        crashed.tell_crashed(folder)
        assert book.was_cut_short(folder)
        book.sign_out(folder)
    assert not book.was_cut_short(folder) and book.read(folder) == {"first": 2}
