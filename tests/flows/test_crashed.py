"""Who may be told as crashed stands in the folder's book; the telling itself is tested on a real server (tests/operate)."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import State, StateType

from flows import book, crashed
from flows.lock import locked
from tasks.failure import write_failure
from tests.tasks.run_folder import make_run


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


@pytest.mark.parametrize(("ended", "told"), [(StateType.FAILED, {"round": "Crashed"}), (StateType.COMPLETED, {})])
def test_what_a_run_that_failed_could_not_tell_its_server_is_told_later(
    ended: StateType, told: dict[str, str], tmp_path: Path
) -> None:
    """As when the server's database was away just as the round within ended, and was back for the run's own end."""
    run, within = (SimpleNamespace(id=uuid4(), name=name, run_count=1, state_type=ended) for name in ("run", "round"))
    within.state_type, within.state, within.parameters = StateType.RUNNING, None, {"number": 1}
    names, found = {run.id: "run", within.id: "round"}, dict[str, str]()

    class Client:
        def read_flow_runs(self, flow_run_filter: FlowRunFilter) -> list[SimpleNamespace]:
            if flow_run_filter.id:
                return [run]
            above = flow_run_filter.parent_flow_run_id
            return [within] if above and above.any_ == [run.id] else []

        def read_task_runs(self, **_: object) -> list[SimpleNamespace]:
            return []

        def set_flow_run_state(self, id_: UUID, state: State, force: bool) -> None:
            found[names[id_]] = str(state.name)

    assert crashed._crash(Client(), {str(run.id): 1}, tmp_path) == {}  # type: ignore[arg-type]
    assert found == told


def test_who_worked_last_is_known_until_a_server_that_knows_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with locked(run := tmp_path / "run"):
        book.sign(run, {"earlier": 1}, "last", 1)
        book.settle(run, {"last": 1})
        assert book.worked_last(run) == "last" and book.read(run) == {"last": 1}
        book.settle(run, {})
        assert book.worked_last(run) is None and book.read(run) == {}


def test_how_a_run_ended_that_could_not_say_so_is_read_from_its_folder(tmp_path: Path) -> None:
    """Of another one than who worked here last, the folder says nothing."""
    run = make_run(tmp_path / "run", rounds=1)
    with locked(run):
        book.sign(run, {"earlier": 1}, "last", 1)

    def told(id_: str, number: int | None = None) -> tuple[str | None, str]:
        state = crashed._how_it_ended(cast(Any, SimpleNamespace(id=id_, parameters={"number": number} if number else {})), run)
        return state.name, str(state.message)

    assert told("a round", 1)[0] == "Completed" and told("a round", 2)[0] == "Crashed"
    (run / "report.html").unlink(missing_ok=True)
    assert told("last") == ("Crashed", told("earlier")[1])
    (run / "report.html").write_text("of all rounds")
    assert told("last")[0] == "Completed" and told("earlier")[0] == "Crashed"
    write_failure(run, "its Prefect server did not answer")
    assert told("last") == ("Failed", "its Prefect server did not answer. What was finished is kept.")
    write_failure(run, "it was stopped by Ctrl-C", killed=True)
    assert told("last")[0] == "Crashed" and told("earlier")[0] == "Crashed"
