"""Flow runs that Prefect shows as running for ever, since it was not told that they ended: told when their folder is taken up.

A process was killed, or the server was away when it ended. What they had to show and could not is told first (flows/untold.py).
"""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter, TaskRunFilter
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelled, Completed, Crashed, Failed

from flows import book, untold
from flows.undeployed import give_back_place
from tasks import summary
from tasks.failure import SILENT, read_failure, was_killed

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

log = logging.getLogger(__name__)
_ENDED_BY_ITSELF = {StateType.COMPLETED}  # and told of everything below it, as one that failed because of its server could not
_GOING = {StateType.RUNNING, StateType.CANCELLING}
_UNENDED = [StateType.SCHEDULED, StateType.PENDING, StateType.PAUSED, *_GOING]
_BEGUN_BY = timedelta(minutes=10)  # from Pending to Running: by hand at once, in a worker as long as its process takes to start


def tell_crashed(folder: Path, begun_by: timedelta = _BEGUN_BY) -> None:
    """In a flow run that works on `folder`, before it begins anything: tell its dead predecessors as crashed, and sign the book.

    The book (flows/book.py) holds every flow run that worked here and may not have ended. Each held the folder's lock, which is
    ours now, so it is dead, with all its task runs and subflows.

    One that was killed before it could sign stays Pending, or Cancelling if it was cancelled just then. Those that were begun by
    hand as this one was, or by its deployment, whose only place is ours, and are still so after `begun_by`, are dead as well.

    A server that refuses costs nothing: the next flow run here tries again.
    """
    runs = book.read(folder)
    try:
        with get_client(sync_client=True) as client:
            for run in _never_began(client, begun_by):
                state = Cancelled if run.state_type == StateType.CANCELLING else Crashed
                _end(client, run, state(message=f"{SILENT.capitalize()}, before it had begun."))
            runs, _ = tell_ended(folder, client)
    except Exception as error:  # the edge: no server's answer may stop a run
        log.warning("Prefect was not told of flow runs that crashed in %s: %s", folder, error)
    book.sign(folder, runs, str(runtime.flow_run.id), runtime.flow_run.run_count)


def tell_ended(folder: Path, client: "SyncPrefectClient") -> tuple[dict[str, int], untold.Told]:
    """Tell the server what it was not told of `folder`, in which nobody works. Returns the flow runs that it does not know, since
    another does, and what it was told besides their states. Raises whatever the client raises."""
    told = untold.tell(folder, client) if untold.path(folder).exists() else untold.Told()
    runs = book.read(folder)
    return _crash(client, runs, folder) if runs else {}, told


def _never_began(client: "SyncPrefectClient", begun_by: timedelta) -> "list[FlowRun]":
    deployment = runtime.deployment.id
    origin = {"any_": [deployment]} if deployment else {"is_null_": True}
    waiting = FlowRunFilter(
        deployment_id=origin, state={"type": {"any_": [StateType.PENDING, StateType.CANCELLING]}, "name": None}
    )
    found = client.read_flow_runs(flow_filter=FlowFilter(name={"any_": [runtime.flow_run.flow_name]}), flow_run_filter=waiting)
    unbegun = [run for run in found if run.state_type == StateType.PENDING or run.start_time is None]
    return [run for run in unbegun if run.state and datetime.now(UTC) - run.state.timestamp > begun_by]


def _crash(client: "SyncPrefectClient", runs: dict[str, int], folder: Path) -> dict[str, int]:
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
            client.set_task_run_state(task.id, Crashed(message=_silent(folder)), force=True)
        for run in dead:
            _end(client, run, _how_it_ended(run, folder))
    return {id_: attempt for id_, attempt in runs.items() if id_ not in {str(run.id) for run in known}}


def _silent(folder: Path) -> str:
    return f"{SILENT.capitalize()}. Found when {folder} was taken up again; what was finished is kept."


def _how_it_ended(run: "FlowRun", folder: Path) -> "State":
    """What the folder says of it, for as far as it does. Prefect takes no other time for it than now."""
    number = (run.parameters or {}).get("number")
    if number is not None and (folder / f"round-{number}" / "decision.json").exists():
        return Completed(message="Told late: the decision is in the run's folder.")
    if str(run.id) == book.worked_last(folder):
        if why := read_failure(folder):
            return (Crashed if was_killed(folder) else Failed)(message=f"{why}. What was finished is kept.")
        if (folder / "config.yaml").exists() and summary.is_finished(folder):
            return Completed(message="Told late: everything is in the run's folder.")
    return Crashed(message=_silent(folder))


def _end(client: "SyncPrefectClient", run: "FlowRun", state: "State") -> None:
    give_back_place(run)
    client.set_flow_run_state(run.id, state, force=True)
