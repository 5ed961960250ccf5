"""What a schedule fires: one more round of a run, from the champion as it stands, on the next prompts nobody has used yet.

A firing never repeats and never overtakes: where an earlier one was stopped in the middle of its rounds, those are finished;
where one still works, this one does nothing and says so. The rounds a firing has taken on are written down (`firings.json`), so
that a retry from Prefect's page goes on with just those.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger, runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from data_contracts.config import RoundsConfig
from data_contracts.config_schedule import Overrides
from data_contracts.errors import BusyError, PlumblineError
from data_contracts.load_config import load_config
from data_contracts.store import load_json, write_json
from flows.iterate import execute
from flows.undeployed import outliving_its_deployment
from tasks import summary
from tasks.promote import read_decision

_NONE = Overrides()


def _title() -> str:
    """The name of a firing on Prefect's page: which run, and which round comes next in it."""
    folder = Path(runtime.flow_run.parameters["run_dir"])
    return f"{folder.name}: round {summary.finished_rounds(folder) + 1}"


@flow(name="scheduled rounds", flow_run_name=_title, persist_result=False)
def scheduled_rounds(
    config: str, run_dir: str, rounds: Annotated[int, Field(ge=1, le=100)] = 1, overrides: Overrides = _NONE
) -> State[Any]:
    """Add rounds to a run, each from the current champion and on unseen prompts; finish what an earlier firing left first.

    Args:
        config: The YAML file of the run, as the worker sees it.
        run_dir: The folder of the run that the rounds are added to, as the worker sees it.
        rounds: How many rounds to add. Where an earlier firing was stopped in the middle, its rounds are finished instead.
        overrides: What the rounds that begin now do differently from the configuration, and only they.
    """
    with outliving_its_deployment():
        return _add_rounds(Path(config), Path(run_dir), rounds, overrides)


def _add_rounds(config: Path, folder: Path, rounds: int, overrides: Overrides) -> State[Any]:
    if not config.exists():
        raise PlumblineError(f"{config} was removed after it was deployed: put it back, or deploy it again from its new place")
    settings = load_config(config)
    if not isinstance(settings, RoundsConfig):
        raise PlumblineError(f"{config} says flow: {settings.flow}, and only flow: rounds can be scheduled")
    if not (folder / "config.yaml").exists():
        refuse_lost(folder, runtime.deployment.id)
    if _is_by_schedule() and (why := overtaken(folder, runtime.flow_run.scheduled_start_time)):
        return _skipped(why)
    last = _take_on(folder, rounds)
    if summary.finished_rounds(folder) >= last and summary.is_finished(folder):
        return _skipped(f"round {last} of {folder} is finished already")
    try:
        with _alone(folder.parent):
            execute(settings.model_copy(update={"rounds": last}), folder, overrides.sets(), within_flow=True)
    except BusyError as busy:
        return _skipped(str(busy))
    return Completed(message=_outcome(folder, last))


def _skipped(why: str) -> State[Any]:
    get_run_logger().info("nothing done: %s", why)
    return Completed(name="Skipped", message=f"Nothing done: {why}")


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Scheduled runs beside each other go one after the other: a round wants the machine to itself.

    A lock of the file system, because it ends with its process: a run that a lost machine leaves "Running" would hold a pool's
    limit for ever, and a worker's own limit (3.7.7) stops the worker when a run is retried while its process still ends.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".scheduled.lock").open("a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            get_run_logger().info("waiting until another scheduled run in %s has ended", root)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def overtaken(folder: Path, due: datetime) -> str | None:
    """Why a firing that waited (a busy or absent worker) has nothing to do: when it was due, an earlier one still worked."""
    decisions = [path.stat().st_mtime for path in folder.glob("round-*/decision.json")]
    finished = datetime.fromtimestamp(max(decisions, default=0), UTC)
    if finished <= due:
        return None
    return f"when this was due ({due:%Y-%m-%d %H:%M:%S %Z}) an earlier one still worked on {folder}, until {finished:%H:%M:%S}"


def refuse_lost(folder: Path, deployment: str | None) -> None:
    """Raises PlumblineError if the deployment has added rounds in `folder`, where there is no run by now: a disk that is not
    mounted must not have everything paid for again."""
    if deployment is None:
        return
    completed = FlowRunFilter(deployment_id={"any_": [deployment]}, state={"type": None, "name": {"any_": ["Completed"]}})
    with get_client(sync_client=True) as client:
        earlier = client.read_flow_runs(flow_run_filter=completed)
    if any(run.parameters.get("run_dir") == str(folder) for run in earlier):
        raise PlumblineError(
            f"{folder} is gone, though earlier firings have added rounds to it: put it back, or, to begin anew, delete the "
            "deployment and deploy again"
        )


def _is_by_schedule() -> bool:
    """Fired by the schedule for the first time: neither by hand nor tried again."""
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    run = context.flow_run if context else None
    return bool(run and run.auto_scheduled and run.run_count <= 1)


def _take_on(folder: Path, rounds: int) -> int:
    """The number of the last round that this firing is to finish."""
    path, firing = folder / "firings.json", str(runtime.flow_run.id)
    firings: dict[str, int] = load_json(path, {})
    if firing not in firings:
        begun = summary.read_config(folder)["rounds"] if (folder / "config.yaml").exists() else 0
        finished = summary.finished_rounds(folder)
        firings[firing] = begun if finished < begun else finished + rounds
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, firings)
    return firings[firing]


def _outcome(folder: Path, last: int) -> str:
    decision = read_decision(folder / f"round-{last}" / "decision.json")
    return f"Round {last}. {decision.reason}" if decision else f"Round {last} is finished."
