"""Flow runs whose process was killed without a word, which Prefect shows as running for ever: told as crashed."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import get_run_logger, runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, TaskRunFilter
from prefect.client.schemas.objects import StateType
from prefect.states import Crashed

from data_contracts.store import write_text
from tasks.failure import SILENT

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

log = logging.getLogger(__name__)
_ENDED_BY_ITSELF = {StateType.COMPLETED, StateType.FAILED}  # and told of everything below it
_GOING = {StateType.RUNNING, StateType.CANCELLING}
_UNENDED = [StateType.SCHEDULED, StateType.PENDING, StateType.PAUSED, *_GOING]


def tell_crashed(folder: Path) -> None:
    """In a flow run that works on `folder`, before it begins anything: tell its dead predecessors as crashed, and sign the book.

    The book (`flow_runs.json`) holds the id and the attempt of every flow run that worked here and may not have ended. Each held
    the folder's lock, which is ours now, so it is dead, with all its task runs and subflows. The book names the lock by its
    inode: a copy of the folder has another lock, and whoever is in its book may well be alive, at work on the original.

    A server that refuses costs nothing: the next flow run here tries again.
    """
    path, lock = folder / "flow_runs.json", (folder / ".lock").stat().st_ino
    book = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    runs: dict[str, int] = book["runs"] if book.get("lock") == lock else {}
    if runs:
        try:
            with get_client(sync_client=True) as client:
                runs = _crash(
                    client, runs, f"{SILENT.capitalize()}. Found when {folder} was taken up again; what was finished is kept."
                )
        except Exception as error:  # the edge: no server's answer may stop a run
            log.warning("Prefect was not told of flow runs that crashed in %s: %s", folder, error)
    runs[str(runtime.flow_run.id)] = runtime.flow_run.run_count
    write_text(path, json.dumps({"lock": lock, "runs": runs}, indent=2))


def _crash(client: "SyncPrefectClient", runs: dict[str, int], sentence: str) -> dict[str, int]:
    """Set what these flow runs left unended, innermost first. Returns those that this server does not know: another does."""
    known = client.read_flow_runs(flow_run_filter=FlowRunFilter(id={"any_": list(runs)}))
    family = layer = [run for run in known if run.state_type not in _ENDED_BY_ITSELF]
    # of these only the attempt that worked here: Retry may have given one another process, which waits for us to end
    dead = [run for run in family if run.state_type in _GOING and run.run_count == runs[str(run.id)]]
    unended = {"type": {"any_": _UNENDED}, "name": None}
    while layer:
        parents = {"any_": [run.id for run in layer]}
        layer = client.read_flow_runs(flow_run_filter=FlowRunFilter(parent_flow_run_id=parents, state=unended))
        family, dead = [*family, *layer], [*layer, *dead]
    if family:
        theirs = FlowRunFilter(id={"any_": [run.id for run in family]})
        tasks = client.read_task_runs(flow_run_filter=theirs, task_run_filter=TaskRunFilter(state=unended))
        for task in tasks:
            client.set_task_run_state(task.id, Crashed(message=sentence), force=True)
        for run in dead:
            client.set_flow_run_state(run.id, Crashed(message=sentence), force=True)
        if tasks or dead:
            get_run_logger().info("told as crashed: %s", ", ".join(run.name for run in (*dead, *tasks)))
    return {id_: attempt for id_, attempt in runs.items() if id_ not in {str(run.id) for run in known}}
