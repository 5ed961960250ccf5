"""`plumbline deploy`: a run that goes on by itself, registered with Prefect."""

import os
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.config import RoundsConfig
from data_contracts.errors import PlumblineError
from data_contracts.load_config import load_config
from data_contracts.mask import mask
from flows.iterate import check

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

ROOT = Path(__file__).resolve().parent.parent
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_ENTRYPOINT = "flows.scheduled.scheduled_rounds"


@dataclass(frozen=True)
class Deployed:
    name: str  # as Prefect names it: flow/deployment
    url: str  # its page
    pool: str
    pool_type: str


def parse_interval(text: str) -> timedelta:
    """`90s`, `30m`, `6h` or `1d`. Raises PlumblineError for anything else."""
    found = re.fullmatch(r"([1-9]\d*)([smhd])", text)
    if not found:
        raise PlumblineError(f"--interval is {text!r}: write a number and s, m, h or d, for example 6h")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def check_cron(text: str) -> str:
    """Raises PlumblineError for what is no cron expression."""
    from prefect.client.schemas.schedules import construct_schedule

    try:
        construct_schedule(cron=text)
    except ValueError:
        raise PlumblineError(f"--cron is {text!r}, no cron expression: write five fields, for example '0 2 * * *'") from None
    return text


@dataclass(frozen=True)
class Request:
    config: RoundsConfig
    path: Path
    folder: Path
    schedule: dict[str, Any] | None  # what Prefect's construct_schedule takes


def check_request(path: Path, run_dir: Path | None, cron: str | None, interval: str | None) -> Request:
    """Raises PlumblineError for whatever would stop the first round at once, and for a schedule that makes no sense."""
    if cron and interval:
        raise PlumblineError("--cron and --interval exclude each other: give one of them, or none for runs by hand")
    config = load_config(path)
    if not isinstance(config, RoundsConfig):
        raise PlumblineError(f"{path} says flow: {config.flow}, and only flow: rounds can be scheduled")
    folder = (run_dir or Path("runs") / config.name).resolve()
    check(config.model_copy(update={"rounds": 1}), folder)
    schedule = (
        {"interval": parse_interval(interval)} if interval else {"cron": check_cron(cron), "timezone": "UTC"} if cron else None
    )
    return Request(config, path.resolve(), folder, schedule)


def deploy(request: Request, pool: str) -> Deployed:
    """Register a deployment at PREFECT_API_URL, in the place of an earlier one of the same name.

    One deployment belongs to one policy (the configuration's `name`), and never has more than one run at a time.

    Raises PlumblineError if the pool's workers cannot see the files, and if another deployment adds its rounds to the same run.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
    from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
    from prefect.client.schemas.schedules import construct_schedule
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    from flows.scheduled import scheduled_rounds

    schedules = (
        [DeploymentScheduleCreate(schedule=construct_schedule(**request.schedule), active=True)] if request.schedule else []
    )
    config = request.config
    with get_client(sync_client=True) as client:
        try:
            found = client.read_work_pool(pool)
        except ObjectNotFound:
            template = ProcessWorker.get_default_base_job_template()
            found = client.create_work_pool(WorkPoolCreate(name=pool, type="process", base_job_template=template))
        local = found.type == "process"
        config_path, run_path = (str(p) if local else _in_image(p) for p in (request.path, request.folder))
        _refuse_shared(client, config.name, run_path)
        deployment = client.create_deployment(
            flow_id=client.create_flow(scheduled_rounds),
            name=config.name,
            description=f"Rounds of {config.method.name} with {config.align.objective.name}, added to {run_path}.",
            tags=["plumbline", f"policy:{config.name}", config.method.name, config.align.objective.name],
            schedules=schedules,
            concurrency_limit=1,
            concurrency_options=ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
            parameters={"config": config_path, "run_dir": run_path, "rounds": 1, "overrides": {}},
            parameter_openapi_schema=form(),
            enforce_parameter_schema=True,
            entrypoint=_ENTRYPOINT,
            work_pool_name=pool,
            job_variables={"working_dir": str(ROOT)} if local else {},
            pull_steps=[],
            paused=False,
        )
    url = f"{mask(os.environ['PREFECT_API_URL']).removesuffix('/api')}/deployments/deployment/{deployment}"
    return Deployed(f"{scheduled_rounds.name}/{config.name}", url, pool, found.type)


def _refuse_shared(client: "SyncPrefectClient", name: str, run_path: str) -> None:
    """Until its first round exists, nothing in the folder says whose it is."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=["plumbline"]))
    for other in client.read_deployments(deployment_filter=ours):
        if other.name != name and ROOT / other.parameters.get("run_dir", "") == ROOT / run_path:
            raise PlumblineError(
                f"the deployment {other.name} adds its rounds to {run_path} already: use another --run-dir, or delete it first"
            )


def form() -> dict[str, Any]:
    """The JSON schema of a firing's parameters. What it does not name is refused: Prefect would leave it out in silence."""
    from prefect.utilities.callables import parameter_schema

    from flows.scheduled import scheduled_rounds

    return {**parameter_schema(scheduled_rounds).model_dump(exclude_unset=True), "additionalProperties": False}


def _in_image(path: Path) -> str:
    """A path as a container sees it: the image holds the checkout at its working directory, and mounts `runs/` there."""
    if not path.is_relative_to(ROOT):
        raise PlumblineError(f"{path} lies outside {ROOT}, so a container does not see it: keep it under configs/ or runs/")
    return str(path.relative_to(ROOT))


def worker_command(python: str, pool: str) -> list[str]:
    """What `plumbline worker` becomes."""
    start = [python, "-m", "flows.worker", "worker", "start", "--pool", pool]
    return [*start, "--name", f"plumbline {os.uname().nodename}", "--install-policy", "never"]
