"""A server that goes away in the middle of a run costs its pages nothing, whether or not it is back before the run ends."""

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.command import ROOT, environment
from tests.operate.services import ask
from tests.operate.wire import Wire

pytestmark = pytest.mark.services

SYNC = """
import shutil, sys
from pathlib import Path
from flows import late
folder, kept = Path(sys.argv[1]), Path(sys.argv[2])
print(late.is_told(folder), late.tell(folder), late.is_told(folder), sep="|")
shutil.copy(kept, folder / "untold.jsonl")  # as if nobody had been told
print(late.tell(folder))
"""


def until(path: Path, of: "subprocess.Popen[bytes]") -> None:
    while not path.exists():
        assert of.poll() is None
        time.sleep(0.05)


def shown(api: str, name: str) -> tuple[str, dict[str, tuple[str, bool]], list[tuple[str, str, Any]]]:
    """The flow run's state; of each of its task runs the state, and whether it took no time; what artifacts hold, by task run."""
    (run,) = ask(api, "/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}})
    only = {"any_": [run["id"]]}
    tasks = {task["id"]: task for task in ask(api, "/task_runs/filter", {"flow_runs": {"id": only}})}
    states = {task["name"]: (task["state_name"], task["total_run_time"] < 3) for task in tasks.values() if task["end_time"]}
    artifacts = ask(api, "/artifacts/filter", {"artifacts": {"flow_run_id": only}})
    named = [(tasks[a["task_run_id"]]["name"] if a["task_run_id"] else name, a["key"], a["data"]) for a in artifacts]
    return run["state_name"], states, sorted(named, key=str)


def test_what_an_outage_kept_from_the_pages_is_told_once_when_the_server_is_back(api: str, tmp_path: Path) -> None:
    back, away = tmp_path / "back", tmp_path / "away"
    wire = Wire(int(api.removesuffix("/api").rpartition(":")[2]))
    at_once = {"PREFECT_CLIENT_MAX_RETRIES": "0", "PREFECT_API_URL": f"http://127.0.0.1:{wire.address[1]}/api"}
    for folder in (back, away):
        folder.mkdir()
    command = [sys.executable, "-m", "tests.operate.interrupted", str(back), str(away)]
    with (said := tmp_path / "said.txt").open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(tmp_path) | at_once, stderr=file)
    try:
        for folder in (back, away):
            until(folder / "cut", process)
            time.sleep(1.5)  # in which its server writes down what it was told before
            wire.cut()
            (folder / "gone").touch()
            if folder is back:
                until(folder / "mend", process)
                wire.mend()
                (folder / "back").touch()
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.wait()
    assert "Still processing items" not in said.read_text()  # events, seven seconds each, which nobody would hear
    ends = {"start: before": ("Completed", True), "round 1: during": ("Completed", True), "round 1: refused": ("Failed", True)}

    state, tasks, artifacts = shown(api, "back")
    assert (state, tasks) == ("Completed", ends)
    assert not (back / "untold.jsonl").exists()
    assert [(task, key) for task, key, _ in artifacts] == [
        ("back", "back-round-1-decision"),
        *[("round 1: during", f"back-round-1-during{end}") for end in ("", "-progress")],
        *[("start: before", f"back-start-before{end}") for end in ("", "-progress")],
    ]
    assert [data for _, key, data in artifacts if "progress" in key] == [100.0, 100.0]

    state, tasks, artifacts = shown(api, "away")  # as it was left
    assert (state, list(tasks), len(artifacts)) == ("Running", ["start: before"], 2)
    shutil.copy(away / "untold.jsonl", tmp_path / "kept.jsonl")
    command = [sys.executable, "-c", SYNC, str(away), str(tmp_path / "kept.jsonl")]
    synced = subprocess.run(
        command, cwd=ROOT, env=environment(tmp_path) | {"PREFECT_API_URL": api}, capture_output=True, text=True
    )
    assert synced.returncode == 0, synced.stderr
    where = f"Prefect at {api.removesuffix('/api')}"
    assert synced.stdout.splitlines() == [
        f"False|{where} was told of 2 stages and 3 artifacts it had missed|True",
        f"{where} knows everything",
    ]
    state, tasks, artifacts = shown(api, "away")
    assert (state, tasks, len(artifacts)) == ("Crashed", ends, 5)
