"""What Prefect's pages are to say of a run, kept in its folder (`untold.jsonl`) until a server is known to say it.

Pages are a projection of the folder, as tracking is. A line is a task run that has ended, or an artifact. What a server knows of
them is asked before it is told anything, so nothing is made twice, however often it is told.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from data_contracts.store import write_text

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import TaskRun

Line = dict[str, Any]  # the flow run's id as "flow_run", and an "event" or an "artifact", as the API takes them
Key = tuple[str, str, str]
_MOST = 200  # of anything in one answer of the server
_RECORDED = 20.0  # seconds until a server has written down the task runs that it was told: five, by default
_SERVERS = {"id", "created", "updated", "flow_run_id", "state_id", "state_type", "state_name", "state"} | {
    "estimated_start_time_delta", "estimated_run_time"
}  # fmt: skip


@dataclass
class Told:
    """How many task runs and artifacts the server did not know, and how many lines it cannot be told, since they are of flow runs
    that it does not know: another server does."""

    tasks: int = 0
    artifacts: int = 0
    left: list[Line] = field(default_factory=list)


def path(folder: Path) -> Path:
    return folder / "untold.jsonl"


def note(folder: Path, line: Line) -> None:
    with suppress(OSError), path(folder).open("a", encoding="utf-8") as file:  # no page is a reason to stop a stage
        file.write(json.dumps(line) + "\n")


def read(folder: Path) -> list[Line]:
    if not path(folder).exists():
        return []
    whole = path(folder).read_text(encoding="utf-8").split("\n")[:-1]  # a machine that stopped may have cut the last one short
    return [json.loads(line) for line in whole]


def forget(folder: Path, flow_runs: Iterable[str]) -> None:
    """The server knows everything of these flow runs."""
    done = set(flow_runs)
    _keep(folder, [line for line in read(folder) if line["flow_run"] not in done])


def ended(run: "TaskRun") -> Line:
    """A task run in its last state, as the event by which Prefect's own engine tells its server so.

    It carries the true times, and the id of the state, by which a server that is told twice knows it.
    """
    state = run.state
    assert state is not None
    resource = {
        "prefect.resource.id": f"prefect.task-run.{run.id}",
        "prefect.resource.name": run.name,
        "prefect.run-count": str(run.run_count),
        "prefect.state-name": state.name or "",
        "prefect.state-type": state.type.value,
        "prefect.state-timestamp": state.timestamp.isoformat(),
        "prefect.orchestration": "client",
    }
    event = {
        "id": str(state.id),
        "occurred": state.timestamp.isoformat(),
        "event": f"prefect.task-run.{state.name}",
        "resource": resource,
        "related": [{"prefect.resource.id": f"prefect.flow-run.{run.flow_run_id}", "prefect.resource.role": "flow-run"}],
        "payload": {
            "validated_state": {"type": state.type.value, "name": state.name, "message": state.message},
            "task_run": run.model_dump(mode="json", exclude_none=True, exclude=_SERVERS),
        },
    }
    return {"flow_run": str(run.flow_run_id), "event": event}


def tell(folder: Path, client: "SyncPrefectClient") -> Told:
    """Tell the server what it does not know of what is kept in `folder`, and keep only what it cannot be told.

    Raises whatever the client raises, and TimeoutError where the server does not write down what it was told: all is kept then.
    """
    from prefect.client.schemas.filters import FlowRunFilter

    lines, told = read(folder), Told()
    ids = list(dict.fromkeys(line["flow_run"] for line in lines))
    found = [run for part in _parts(ids) for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(id={"any_": part}))]
    known = {str(run.id) for run in found}
    told.left = [line for line in lines if line["flow_run"] not in known]
    ours = [line for line in lines if line["flow_run"] in known]
    if known:
        told.artifacts = _tell_artifacts(client, [line["artifact"] for line in ours if "artifact" in line], list(known))
        told.tasks = _tell_tasks(client, {_key(line): line["event"] for line in ours if "event" in line}, list(known))
    _keep(folder, told.left)
    return told


def _tell_tasks(client: "SyncPrefectClient", events: Mapping[Key, Line], flow_runs: list[str]) -> int:
    missed, begin = _missing(client, events, flow_runs), time.monotonic()
    for part in _parts(missed):
        client.request("POST", "/events", json=[events[key] for key in part])
    while left := _missing(client, events, flow_runs) if missed else []:
        if time.monotonic() - begin > _RECORDED:
            raise TimeoutError(f"Prefect's server has not written down {len(left)} task runs that it was told of")
        time.sleep(0.3)
    return len(missed)


def _missing(client: "SyncPrefectClient", events: Mapping[Key, Line], flow_runs: list[str]) -> list[Key]:
    """Of which task runs the server does not know how they ended, or only how an earlier attempt did."""
    from prefect.client.schemas.filters import FlowRunFilter

    there, ended = FlowRunFilter(id={"any_": flow_runs}), dict[Key, datetime]()
    for run in _all(lambda offset: client.read_task_runs(flow_run_filter=there, limit=_MOST, offset=offset)):
        if run.state and run.state.is_final():
            ended[str(run.flow_run_id), run.task_key, run.dynamic_key] = run.state.timestamp
    return [key for key, event in events.items() if key not in ended or ended[key] < datetime.fromisoformat(event["occurred"])]


def _tell_artifacts(client: "SyncPrefectClient", kept: list[Line], flow_runs: list[str]) -> int:
    from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
    from prefect.client.schemas.filters import ArtifactFilter

    only, made = ArtifactFilter(flow_run_id={"any_": [UUID(id_) for id_ in flow_runs]}), 0
    there = defaultdict[tuple[Any, ...], list[Any]](list)
    for artifact in _all(lambda offset: client.read_artifacts(artifact_filter=only, limit=_MOST, offset=offset)):
        there[_place(artifact.model_dump(mode="json"))].append(artifact)
    bars = {_place(one): one for one in kept if one["type"] == "progress"}  # of a bar only how far it came at last
    for one in [*(one for one in kept if one["type"] != "progress"), *bars.values()]:
        same = there[_place(one)]
        if one["type"] != "progress" or not same:
            if all(other.data != one["data"] for other in same):
                same.append(client.create_artifact(ArtifactCreate(**one)))
                made += 1
        elif same[0].data < one["data"]:
            client.update_artifact(same[0].id, ArtifactUpdate(data=one["data"], description=one["description"]))
            made += 1
    return made


def _place(artifact: Line) -> tuple[Any, ...]:
    return tuple(artifact[name] for name in ("flow_run_id", "task_run_id", "key", "type"))


def _key(line: Line) -> Key:
    """As the server tells task runs apart: an attempt of a flow run that is retried has new ids for what it has known before."""
    run = line["event"]["payload"]["task_run"]
    return line["flow_run"], run["task_key"], run["dynamic_key"]


def _all(read: Callable[[int], list[Any]]) -> Iterator[Any]:
    offset = 0
    while part := read(offset):
        yield from part
        offset += len(part)


def _parts(ids: list[Any]) -> list[list[Any]]:
    return [ids[i : i + _MOST] for i in range(0, len(ids), _MOST)]


def _keep(folder: Path, lines: list[Line]) -> None:
    if lines:
        write_text(path(folder), "".join(json.dumps(line) + "\n" for line in lines))
    else:
        path(folder).unlink(missing_ok=True)
