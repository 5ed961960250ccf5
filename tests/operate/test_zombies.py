"""Flow runs whose process was killed are told as crashed by whoever takes up their folder, and those of others are left alone."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.command import ROOT, environment
from tests.operate.services import Operated

pytestmark = pytest.mark.engine


@pytest.fixture
def linger(operated: Operated, tmp_path: Path) -> Iterator[Any]:
    """Starts a flow that works on a folder and waits until it does, or until it has ended."""
    begun = []

    def start(folder: Path, *at_once: str) -> subprocess.Popen[bytes]:
        folder.mkdir(exist_ok=True)
        (folder / "working").unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.operate.lingering", str(folder), *at_once]
        given = environment(operated.home) | {"PREFECT_API_URL": f"{operated.prefect}/api", "PREFECT_HOME": str(tmp_path)}
        begun.append(subprocess.Popen(command, cwd=ROOT, env=given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        if at_once:
            assert begun[-1].wait(120) == 0
        else:
            operated.wait("its work", (folder / "working").exists)
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.wait()


def found(operated: Operated, name: str) -> list[dict[str, Any]]:
    """The flow runs of that name, the first first."""
    runs = operated.api("/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}})
    return sorted(runs, key=lambda run: run["start_time"])


def below(operated: Operated, run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Flow and task runs below a flow run, by what they run."""
    (inner,) = operated.api("/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run["id"]]}}})
    tasks = operated.api("/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"], inner["id"]]}}})
    return {"round": inner} | {task["name"].rpartition("-")[0] or task["name"]: task for task in tasks}


def test_a_killed_flow_run_is_told_as_crashed_and_its_neighbour_goes_on(operated: Operated, linger: Any, tmp_path: Path) -> None:
    dead, alive = tmp_path / f"{tmp_path.name}-dead", tmp_path / f"{tmp_path.name}-alive"
    linger(alive)
    linger(dead).kill()
    (run,) = found(operated, dead.name)
    operated.wait("its task", lambda: "stage" in str(below(operated, run).keys()))
    assert run["state_name"] == "Running"
    linger(dead, "at once")
    first, second = found(operated, dead.name)
    assert (first["state_name"], second["state_name"]) == ("Crashed", "Completed")
    assert "killed" in first["state"]["message"] and str(dead) in first["state"]["message"]
    assert {name: it["state_name"] for name, it in below(operated, first).items()} == dict.fromkeys(("round", "stage"), "Crashed")
    (neighbour,) = found(operated, alive.name)
    assert neighbour["state_name"] == "Running"
    assert {it["state_name"] for it in below(operated, neighbour).values()} == {"Running"}
