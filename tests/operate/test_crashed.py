"""Flow runs whose process was killed are told as crashed by whoever takes up their folder, and those of others are left alone."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx import HTTPStatusError
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import SetStateStatus
from prefect.runner._state_proposer import StateProposer
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Failed, Pending, Running
from prefect.workers.base import BaseWorker

from data_contracts.errors import PlumblineError
from flows.scheduled import refuse_lost
from flows.undeployed import give_back_place
from flows.worker import give_back_places
from tests.end_to_end.command import ROOT, environment
from tests.operate.services import ask, post

pytestmark = pytest.mark.services
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def linger(api: str, tmp_path: Path) -> Iterator[Start]:
    """Starts a flow that works on a folder and waits until it does and the server knows it, or until it has ended."""
    begun: list[subprocess.Popen[bytes]] = []

    def start(folder: Path, *at_once: str) -> subprocess.Popen[bytes]:
        folder.mkdir(exist_ok=True)
        (folder / "working").unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.operate.lingering", str(folder), *at_once]
        begun.append(subprocess.Popen(command, cwd=ROOT, env=environment(tmp_path) | {"PREFECT_API_URL": api}))
        if at_once:
            assert begun[-1].wait(120) == 0
        while not at_once and not ((folder / "working").exists() and known(api, folder.name)):
            assert begun[-1].poll() is None
            time.sleep(0.1)
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.wait()


def flow_runs(api: str, name: str) -> list[dict[str, Any]]:
    """The flow runs of that name, the first first."""
    return sorted(ask(api, "/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}}), key=lambda run: run["start_time"])


def known(api: str, name: str) -> bool:
    """Whether the server has been told that the stage of that flow run's last has begun; its process tells it a little later."""
    (*_, last) = flow_runs(api, name)
    return ("stage", "Running") in below(api, last)


def below(api: str, run: dict[str, Any]) -> list[tuple[str, str]]:
    """The states of the flow run within and of the task runs of both, once they are told: of what, and which."""
    for _ in range(200):
        (inner,) = ask(api, "/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run["id"]]}}})
        tasks = ask(api, "/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"], inner["id"]]}}})
        if len(tasks) == 2:
            break
        time.sleep(0.1)
    return [("round", inner["state_name"]), *sorted((task["name"].rpartition("-")[0], task["state_name"]) for task in tasks)]


def test_a_killed_flow_run_is_told_as_crashed_and_its_neighbour_goes_on(api: str, linger: Start, tmp_path: Path) -> None:
    dead, alive = tmp_path / "dead", tmp_path / "alive"
    linger(alive)
    linger(dead).kill()
    (run,) = flow_runs(api, "dead")
    everything = ["round", "round", "stage"]
    assert run["state_name"] == "Running" and below(api, run) == [(name, "Running") for name in everything]
    linger(dead, "at once")
    first, second = flow_runs(api, "dead")
    assert (first["state_name"], second["state_name"]) == ("Crashed", "Completed")
    assert "it was killed" in first["state"]["message"] and str(dead) in first["state"]["message"]
    assert below(api, first) == [(name, "Crashed") for name in everything]
    (neighbour,) = flow_runs(api, "alive")
    assert neighbour["state_name"] == "Running" and below(api, neighbour) == [(name, "Running") for name in everything]


def test_a_copy_of_a_folder_leaves_the_flow_runs_of_the_original_alone(api: str, linger: Start, tmp_path: Path) -> None:
    linger(tmp_path / "original")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "flow_runs.json").write_bytes((tmp_path / "original" / "flow_runs.json").read_bytes())
    linger(tmp_path / "copy", "at once")
    assert [run["state_name"] for run in flow_runs(api, "original")] == ["Running"]


def test_a_flow_run_that_was_killed_before_it_began_is_told_so_in_time(api: str, linger: Start, tmp_path: Path) -> None:
    def state(run: dict[str, Any]) -> str:
        (found,) = ask(api, "/flow_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
        return str(found["state_name"])

    def pending(flow: str, **more: Any) -> dict[str, Any]:
        return post(
            api, "/flow_runs/", {"flow_id": post(api, "/flows/", {"name": flow})["id"], "state": {"type": "PENDING"}, **more}
        )

    ours, anothers = pending("lingering"), pending("another flow")
    deployed = post(api, "/deployments/", {"flow_id": ours["flow_id"], "name": "by schedule"})
    firing = pending("lingering", deployment_id=deployed["id"])
    cancelled = pending("lingering")
    post(api, f"/flow_runs/{cancelled['id']}/set_state", {"state": {"type": "CANCELLING"}})
    linger(tmp_path / "begun")
    assert (state(ours), state(cancelled)) == ("Pending", "Cancelling")  # they may be about to begin, or to end
    linger(tmp_path / "later", "at once")
    assert [state(run) for run in (ours, cancelled, anothers, firing)] == ["Crashed", "Cancelled", "Pending", "Pending"]


def test_a_run_that_was_started_by_hand_heeds_cancel_on_the_page(api: str, linger: Start, tmp_path: Path) -> None:
    process = linger(tmp_path / "cancelled")
    (run,) = flow_runs(api, "cancelled")
    post(api, f"/flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING"}})
    assert process.wait(60) != 0
    (ended,) = flow_runs(api, "cancelled")
    assert ended["state_name"] == "Cancelled"
    assert next(state for name, state in below(api, ended) if name == "round") == "Cancelled"


@pytest.mark.parametrize("states", [[Pending()], [Pending(), Running()]], ids=["pending", "running"])
def test_a_firing_whose_deployment_was_deleted_can_still_end(api: str, states: list[State]) -> None:
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        flow = client.create_flow_from_name("scheduled")
        deployed = client.create_deployment(flow_id=flow, name="to be deleted", concurrency_limit=1)
        id_ = client.create_flow_run_from_deployment(deployed).id
        for state in states:
            assert client.set_flow_run_state(id_, state).status == SetStateStatus.ACCEPT
        give_back_place(client.read_flow_run(id_))
        (limit,) = client.read_global_concurrency_limits()
        assert limit.active_slots == 1  # it is kept as long as there is a deployment to keep it for
        client.delete_deployment(deployed)
        with pytest.raises(HTTPStatusError, match="500"):
            client.set_flow_run_state(id_, Completed(), force=True)
        give_back_place(client.read_flow_run(id_))
        assert client.set_flow_run_state(id_, Completed()).status == SetStateStatus.ACCEPT


def test_a_worker_tells_of_a_firing_that_ended_before_it_began_after_its_deployment_was_deleted(
    api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StateProposer, "propose_crashed", StateProposer.propose_crashed)  # so that they are taken back
    monkeypatch.setattr(BaseWorker, "_propose_crashed_state", BaseWorker._propose_crashed_state)

    async def propose(run: FlowRun) -> None:
        async with get_client() as client:
            await StateProposer(client=client).propose_crashed(run, "its process has ended")

    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        flow = client.create_flow_from_name("scheduled")
        deployed = client.create_deployment(flow_id=flow, name="to be deleted", concurrency_limit=1)
        run = client.create_flow_run_from_deployment(deployed)
        client.set_flow_run_state(run.id, Pending())
        client.delete_deployment(deployed)
        found = []
        for mend in (lambda: None, give_back_places):
            mend()
            asyncio.run(propose(run))
            found.append(client.read_flow_run(run.id).state_name)
        assert found == ["Pending", "Crashed"]


def test_a_firing_begins_no_run_anew_where_earlier_ones_have_added_rounds(api: str, tmp_path: Path) -> None:
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        flow = client.create_flow_from_name("scheduled")
        deployed = client.create_deployment(flow_id=flow, name="nightly")
        for name, state in (("added", Completed()), ("skipped", Completed(name="Skipped")), ("failed", Failed())):
            where = {"run_dir": str(tmp_path / name)}
            client.create_flow_run_from_deployment(deployed, parameters=where, state=state)
        with pytest.raises(PlumblineError, match=r"added is gone.*put it back, or, to begin anew, delete the deployment"):
            refuse_lost(tmp_path / "added", str(deployed))
        for name in ("skipped", "failed", "new"):
            refuse_lost(tmp_path / name, str(deployed))
        again = client.create_deployment(flow_id=flow, name="begun anew")
        refuse_lost(tmp_path / "added", str(again))
