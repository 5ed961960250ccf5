"""`plumbline up` and `down`: the two servers that outlive a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.outputs import to_folder

if TYPE_CHECKING:
    from flows.services import Service

DEFAULT = Path("runs") / "services"
Folder = Annotated[Path, typer.Option("--services", help="Where the servers keep their data.")]
ServicesFolder = Annotated[Path, to_folder("Where the servers keep their data, logs and process numbers.", "--folder")]
Database = Annotated[
    str | None,
    typer.Option(
        envvar="PLUMBLINE_DATABASE",
        show_envvar=True,
        metavar="URL",
        help="PostgreSQL instead of SQLite: postgresql://USER:PASSWORD@HOST:PORT/DATABASE. Each server makes its own schema.",
    ),
]


def up(folder: ServicesFolder = DEFAULT, database: Database = None) -> None:
    """Start a Prefect and an MLflow server on loopback.

    Run again, it shows where they are.
    """
    from flows import services
    from flows.display import working

    before = services.known(folder)
    with working("starting Prefect and MLflow"):
        found = services.up(folder, database)
    _print(found)
    for name, was in before.items():
        if was.url != found[name].url:
            typer.echo(f"{was.title} has left {was.url}, where another process listens by now: start workers and runs anew")


def down(folder: ServicesFolder = DEFAULT) -> None:
    """Stop the servers that `plumbline up` started.

    Their data stays for the next `plumbline up`.
    """
    from flows import services

    stopped = services.down(folder)
    typer.echo(f"{' and '.join(stopped)} stopped; the data stays in {folder}" if stopped else f"nothing was running in {folder}")


def show(folder: Path) -> None:
    """Which servers run, and whether they answer."""
    from flows import deployments, services

    found = services.running(folder)
    if len(found) < 2:
        running = ", ".join(service.title for service in found.values())
        typer.echo(
            f"{f'only {running} is running' if running else 'no services are running'} in {folder}: plumbline up starts them"
        )
        return
    _print(found)
    for service in found.values():
        if not service.is_answering():
            typer.echo(f"{service.title} runs but does not answer: see {folder / service.name}.log")
    for line in deployments.told(found["prefect"].url):
        typer.echo(line)
    for pool in services.unserved(found["prefect"]):
        typer.echo(f"no worker serves {pool}, so nothing that is due begins: plumbline worker --pool {pool}")


def _print(found: "dict[str, Service]") -> None:
    from flows import services

    for service in found.values():
        typer.echo(f"{service.title:<8} {service.url}   ({service.database})")
    for name, value in services.exports(found).items():
        typer.echo(f"export {name}={value}")
