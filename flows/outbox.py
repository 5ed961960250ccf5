"""What Prefect's pages are to show, sent in order from a thread of its own: no stage waits for a page, and none fails for one.

What may not arrive is kept in the run's folder first (flows/untold.py), and taken from there when the flow ends and all is well.
"""

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import copy_context
from pathlib import Path
from queue import Empty
from typing import Any
from uuid import UUID

from prefect.artifacts import Artifact, ProgressArtifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.client.schemas.objects import TaskRun
from prefect.context import TaskRunContext
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.utilities.context import get_task_and_flow_run_ids

from flows import untold

log = logging.getLogger(__name__)

_PATIENCE = 30.0  # seconds for what is still on its way when a flow ends: a server that answers takes milliseconds
_SLOW = 5.0  # seconds: so long takes only what is tried again and again, and a server that went away has forgotten things
_AGAIN = 240.0  # seconds in which a request that is tried again ends, under `plumbline worker`
_sender = ThreadPoolExecutor(1, thread_name_prefix="pages")
_sent: list[Future[None]] = []
_watched: list[TaskRun] = []  # Prefect's engine writes into them how they end
_flow_runs: set[str] = set()
_doubts: list[str] = []
_away: list[str] = []  # why a server could not be told at the end of a flow


def send(folder: Path, artifact: Artifact, made: list[UUID] | None = None) -> None:
    """Make `artifact` in its turn, for the flow and task that run here now. A server that refuses it is a line in the log.

    `made` is a progress bar's own: its id once it exists, and from then on it is changed.
    """
    task, flow = (str(id_) if id_ else None for id_ in get_task_and_flow_run_ids())
    _note_ended(folder)
    on_the_way = made and isinstance(artifact, ProgressArtifact) and artifact.progress < 100.0
    if flow and not on_the_way:  # where a bar stood in between does not matter for long
        kept = {"key": artifact.key, "type": artifact.type, "description": artifact.description, "data": _data(artifact)}
        untold.note(folder, {"flow_run": flow, "artifact": {**kept, "flow_run_id": flow, "task_run_id": task}})
        _flow_runs.add(flow)
    _sent[:] = [one for one in _sent if not one.done()]
    _sent.append(_sender.submit(copy_context().run, _attempt, artifact, made))


def watch() -> None:
    """To be called in a task: however it ends, its end is kept."""
    if context := TaskRunContext.get():
        _watched.append(context.task_run)


def flush(folder: Path | None = None, seconds: float = _PATIENCE) -> None:
    """Return when everything is sent, or give up after `seconds`. To be called where the flow still runs: its client is used.

    Where all is well, nothing of this flow stays in `folder`. Where a server was away, it is asked for what it does not know.
    """
    left = wait(_sent, seconds).not_done
    trying = [one for one in left if not one.cancel()]
    _sent.clear()
    _away.clear()
    if left:
        log.warning("Prefect does not answer: %d artifacts were not sent", len(left))
    if folder is not None:
        _note_ended(folder)
        if left or _doubts:
            _settle(folder, trying)
        else:
            untold.forget(folder, _flow_runs)
    _doubts.clear()


def _settle(folder: Path, trying: list[Future[None]]) -> None:
    """Tell a server that was away and is back what it missed; `trying` is still tried again, and must not be beside this."""
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as client:
            client.hello().raise_for_status()
            if not wait(trying, _AGAIN).not_done:
                untold.tell(folder, client)
    except Exception as error:  # the edge, as below
        log.warning("Prefect was not told everything: %s", error)
        _away.append(str(error))


def give_up() -> None:
    """To be called when the process is about to end: with a server that is away, it would be held up by Prefect (3.7) for seven
    seconds an event, minutes in all, and print each. What there is to say is kept already."""
    for service in [one for one in EventsWorker._instances.values() if _away and isinstance(one, EventsWorker)]:
        with suppress(Empty):
            while True:
                service._queue.get_nowait()


def _note_ended(folder: Path) -> None:
    for run in [run for run in _watched if run.end_time and run.state and run.state.is_final()]:  # the time is written last
        _watched.remove(run)
        untold.note(folder, untold.ended(run))
        _flow_runs.add(str(run.flow_run_id))


def _attempt(artifact: Artifact, made: list[UUID] | None) -> None:
    begin = time.monotonic()
    try:
        if made:
            change = ArtifactUpdate(data=_data(artifact), description=artifact.description)
            get_client(sync_client=True).update_artifact(made[0], change)
        else:
            created = artifact.create(_sync=True)  # type: ignore[call-arg]
            if made is not None:
                made.append(created.id)
    except Exception as error:  # the edge: a page is no reason to stop a stage
        log.warning("Prefect was not shown %s: %s", artifact.key or "progress", error)
        _doubts.append(str(error))
    if time.monotonic() - begin > _SLOW:
        _doubts.append("slow")


def _data(artifact: Artifact) -> Any:
    return artifact.format(_sync=True)  # type: ignore[call-arg]
