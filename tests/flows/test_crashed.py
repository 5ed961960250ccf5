"""Who may be told as crashed stands in the folder's book; the telling itself is tested on a real server (tests/operate)."""

import json
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from flows import crashed
from flows.lock import locked


def book(folder: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((folder / "flow_runs.json").read_text())["runs"]
    return found


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
        assert asked == ["asked"] * times and book(folder) == {"first": 2, "second": 1}


def test_a_first_flow_run_asks_nothing_and_a_copy_knows_nobody(tmp_path: Path, asked: list[str]) -> None:
    original, copy = begun(tmp_path / "original"), tmp_path / "copy"
    copy.mkdir()
    (copy / "flow_runs.json").write_bytes((original / "flow_runs.json").read_bytes())
    (tmp_path / "new").mkdir()
    for folder in (copy, tmp_path / "new"):
        with locked(folder):
            crashed.tell_crashed(folder)
        assert book(folder) == {"second": 1}
    assert asked == []
