"""`plumbline deploy` and `worker`: rounds that go on by themselves."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli_services import DEFAULT, Folder

Pool = Annotated[str, typer.Option(help="The Prefect work pool; made, of type process, where it does not exist.")]

# for the worker and the rounds that it starts
_PATIENT = {
    "PREFECT_CLIENT_MAX_RETRIES": "7",  # a request waits four minutes for its server, and not one: as long as its place is kept
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",  # its answer while its database is started anew
    "PREFECT_WORKER_ENABLE_CANCELLATION": "true",  # else whoever is cancelled while its process starts is Cancelling for ever
}


def deploy(
    config: Annotated[Path, typer.Argument(help="A YAML file with flow: rounds.")],
    cron: Annotated[str | None, typer.Option(help="When to add a round, in UTC, for example '0 2 * * *'.")] = None,
    interval: Annotated[str | None, typer.Option(help="How often to add a round, for example 6h.")] = None,
    run_dir: Annotated[Path | None, typer.Option(help="The run that rounds are added to; runs/<name> if not given.")] = None,
    pool: Pool = "plumbline",
    services: Folder = DEFAULT,
) -> None:
    """Let Prefect add rounds to a run by schedule, or by hand from its page."""
    from flows import deploy as deploying
    from flows.server import PrefectServer

    _find_server(services)  # first: Prefect reads its settings once, when it is first imported
    request = deploying.check_request(config, run_dir, cron, interval)
    PrefectServer(services).check_given()
    done = deploying.deploy(request, pool)
    typer.echo(f"deployed    {done.name}")
    typer.echo(f"due         {f'{cron} (UTC)' if cron else f'every {interval}' if interval else 'by hand'}")
    typer.echo(f"Prefect UI  {done.url}")
    if done.pool_type == "process":
        typer.echo(f"serve it    plumbline worker{'' if done.pool == 'plumbline' else f' --pool {done.pool}'}")
    else:
        typer.echo(f"serve it    prefect worker start --pool {done.pool} --type {done.pool_type}")


def worker(
    pool: Pool = "plumbline",
    services: Folder = DEFAULT,
) -> None:
    """Run here what deployments schedule, until Ctrl-C."""
    from flows.deploy import ROOT, worker_command
    from flows.server import PrefectServer

    _find_server(services)
    PrefectServer(services).check_given()
    command = worker_command(sys.executable, pool)
    os.environ.update({name: os.environ.get(name, value) for name, value in _PATIENT.items()})
    os.chdir(ROOT)
    os.execv(command[0], command)  # it then gets the signals itself


def _find_server(services: Path) -> None:
    """Raises PlumblineError if no Prefect server is up here and none is named."""
    from data_contracts.errors import PlumblineError
    from flows.services import adopt, unused

    adopt(services)
    if "PREFECT_API_URL" not in os.environ:
        raise PlumblineError(
            unused(services) or "no Prefect server is known: start one with plumbline up, or set PREFECT_API_URL"
        )
    home = (services / "worker").resolve()
    home.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PREFECT_HOME", str(home))
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
