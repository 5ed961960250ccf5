"""`plumbline …`. Nothing heavy is imported before a command has checked its input."""

import errno
import os
import signal
import sys
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flows import (
    cli_align,
    cli_compare,
    cli_evaluate,
    cli_inspect,
    cli_judge,
    cli_objectives,
    cli_preference,
    cli_rubric,
    cli_schedule,
    cli_services,
    cli_sweep,
    cli_teacher,
    cli_validate,
)
from flows.cli_command import Command, Sets
from flows.outputs import to_folder

ROOT = Path(__file__).resolve().parent.parent

embedded = typer.Typer(help="Rebuild the small student and teacher of the demo.", no_args_is_help=True)

RunDir = Annotated[Path | None, to_folder("Where the run lives; runs/<name> if not given.")]
Folder = Annotated[Path, typer.Argument(help="A run's folder, for example runs/demo.")]


def demo(run_dir: RunDir = None, rounds: Annotated[int, typer.Option(min=1, help="How many rounds.")] = 2) -> None:
    """Run rounds on the embedded models.

    Run again, it resumes, and finished work is not repeated.
    """
    _run(ROOT / "configs" / "demo.yaml", [f"rounds={rounds}"], run_dir)


def run(
    config: Annotated[Path, typer.Argument(help="A YAML file; see configs/.")], run_dir: RunDir = None, set_: Sets = None
) -> None:
    """Run a configuration.

    Run again, it resumes, and finished work is not repeated.
    """
    _run(config, set_ or [], run_dir)


def resume(folder: Folder, set_: Sets = None) -> None:
    """Finish a run that was stopped.

    It goes on with the configuration in its folder; --set may change what decides no result, such as a budget.
    """
    from tasks.summary import read_config

    read_config(folder)
    _run(folder / "config.yaml", set_ or [], folder)


def status(
    folder: Annotated[Path | None, typer.Argument(help="A run's folder; without one, the servers are shown.")] = None,
    services: cli_services.Folder = cli_services.DEFAULT,
) -> None:
    """Show the stages of a run, its table and its state; without FOLDER, the servers."""
    if folder is None:
        cli_services.show(services)
        return
    from data_contracts.plain import plain
    from flows.display import console
    from flows.lock import holder
    from tasks import lineage, summary
    from tasks.selection import selection_note

    console().print(summary.render_status(summary.status(folder)))
    console().print(summary.render(summary.collect(folder), note=selection_note(folder)))
    if summary.read_config(folder)["flow"] == "rounds":
        typer.echo(plain(lineage.told(folder)))
    if model := lineage.champion_folder(folder):
        typer.echo(f"model: {model}")
    if not holder(folder) and (untold := _untold(folder)):
        typer.echo(f"{untold} not told everything: plumbline sync {folder}")
    typer.echo(f"state: {_state(folder)}")


def _untold(folder: Path) -> str:
    from flows import late
    from tasks.tracking import is_told

    who = [*([] if is_told(folder) else ["MLflow"]), *([] if late.is_told(folder) else ["Prefect"])]
    return f"{' and '.join(who)} {'were' if len(who) > 1 else 'was'}" if who else ""


def _state(folder: Path) -> str:
    """Finished, at work, or stopped: why, and what to do."""
    from data_contracts.plain import plain
    from flows.lock import holder
    from tasks.failure import SILENT, read_failure
    from tasks.summary import is_finished
    from tasks.sweep import is_cell

    if worker := holder(folder):
        return f"{worker} works on it"
    if is_finished(folder):
        return "finished"
    again = "plumbline sweep with its file" if is_cell(folder) else f"plumbline resume {folder}"
    return f"stopped ({plain(read_failure(folder) or SILENT)}): {again} goes on"


@embedded.command(cls=Command)
def build(
    out: Annotated[Path, typer.Option(help="Where to write the checkpoints and data.", show_default="models/embedded")] = ROOT
    / "models"
    / "embedded",
    scale: Annotated[float, typer.Option(min=0.001, help="Share of the full number of steps.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the world, the data and the weights.")] = 0,
) -> None:
    """Rebuild the embedded student, teacher and data from their seeded world.

    That takes about 15 minutes.
    """
    from models.embedded.build import build as build_embedded

    build_embedded(out, scale, seed)


def _run(path: Path, sets: list[str], run_dir: Path | None) -> None:
    from data_contracts.load_config import load_config, replaced

    config = load_config(path, sets)
    folder = (run_dir or Path("runs") / config.name).resolve()
    from flows.iterate import execute

    execute(config, folder, replaced=replaced(path, sets))
    _show(folder)


def _show(folder: Path) -> None:
    from shlex import quote

    from data_contracts.mask import mask
    from flows.display import console
    from tasks import summary
    from tasks.lineage import champion_folder
    from tasks.selection import selection_note
    from tasks.tracking import tracking_uri

    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    bin_ = Path(sys.executable).parent
    bin_ = bin_.relative_to(Path.cwd()) if bin_.is_relative_to(Path.cwd()) else bin_
    console().print(summary.render(summary.collect(folder), note=selection_note(folder)))
    if model := champion_folder(folder):
        typer.echo(f"model       {shown / model.relative_to(folder)}")
    typer.echo(f"report      {shown}/report.html")
    if "MLFLOW_TRACKING_URI" in os.environ:
        typer.echo(f"MLflow UI   {mask(tracking_uri(folder))}")
    elif (folder / "mlflow.db").exists():
        store = quote(f"sqlite:///{shown}/mlflow.db")
        typer.echo(f"MLflow UI   {bin_}/mlflow server --host 127.0.0.1 --port 5000 --backend-store-uri {store}")
    if (folder / "prefect" / "server.log").exists():
        home = quote(f"{folder}/prefect")
        typer.echo(f"Prefect UI  PREFECT_HOME={home} {bin_}/prefect server start --host 127.0.0.1")
    elif "PREFECT_API_URL" in os.environ:  # else its servers were others, which are not up
        typer.echo(f"Prefect UI  {mask(os.environ['PREFECT_API_URL']).removesuffix('/api')}")
    if untold := _untold(folder):
        typer.echo(f"{untold} not told everything: {bin_}/plumbline sync {quote(str(shown))}")


# what `plumbline --help` shows, in this order
PANELS: dict[str, dict[str, Callable[..., None] | typer.Typer]] = {
    "Run": {"demo": demo, "run": run, "resume": resume, "status": status, "sweep": cli_sweep.sweep},
    "Look back": {"compare": cli_compare.compare, "rollback": cli_compare.rollback, "sync": cli_compare.sync},
    "Data": {"inspect": cli_inspect.inspect, "validate": cli_validate.validate},
    "Teachers and judges": {
        "teacher": cli_teacher.app,
        "judge": cli_judge.app,
        "preference": cli_preference.app,
        "rubric": cli_rubric.app,
    },
    "Training": {"objectives": cli_objectives.app, "align": cli_align.align},
    "Evaluation": {"evaluate": cli_evaluate.evaluate, "score": cli_evaluate.score},
    "Servers and schedules": {
        "up": cli_services.up,
        "down": cli_services.down,
        "deploy": cli_schedule.deploy,
        "worker": cli_schedule.worker,
    },
    "Development": {"embedded": embedded},
}


class _InOrder(TyperGroup):
    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return [name for commands in PANELS.values() for name in commands]


app = typer.Typer(
    cls=_InOrder,
    help="Iterative alignment rounds for language models: sample, revise, judge, validate, align, evaluate, promote.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for panel, commands in PANELS.items():
    for name, command in commands.items():
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, rich_help_panel=panel)
        else:
            app.command(name, cls=Command, rich_help_panel=panel)(command)


# a disk that is full or read-only, a quota, a limit, somebody else's folder: nothing that a traceback would explain
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


def past_any_proxy() -> None:
    """This process and those it starts ask servers on loopback themselves, whatever proxy the machine is set to."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(
        dict.fromkeys([*known.split(","), "127.0.0.1", "localhost"])
    ).strip(",")


def _away(error: Any) -> str:
    """A server, mostly Prefect's, that went away while it was needed or is in trouble itself."""
    from data_contracts.errors import in_short
    from data_contracts.mask import mask
    from data_contracts.plain import plain

    where = getattr(error, "_request", None)
    asked = f"the server at {mask(str(where.url.copy_with(path='/', query=None)))}" if where else "a server"
    return (
        f"{asked} did not answer as it should ({plain(in_short(error))}): when it is back, give the same command again, which "
        "goes on where this one stopped"
    )


def main() -> None:
    from data_contracts.errors import PlumblineError
    from data_contracts.plain import plain

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # what a terminal cannot show, and names that are no text, stop nobody
    past_any_proxy()
    try:
        app()
    except PlumblineError as error:
        typer.echo(f"error: {plain(str(error))}", err=True)  # it may quote a file, a model or a server
        sys.exit(2)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            typer.echo(f"error: {plain(str(error.filename))[:60]}… is longer than any path may be: name another place", err=True)
            sys.exit(2)
        if error.errno not in _NO_ROOM:
            raise
        typer.echo(
            f"error: {error.filename or 'a file'} could not be read or written ({error.strerror}): make room or get the "
            "permission, then give the same command again, which goes on where this one stopped",
            err=True,
        )
        sys.exit(2)
    except SystemExit as end:
        if end.code == 130:  # what typer makes of Ctrl-C, without a word
            typer.echo("stopped; run the same command again to resume", err=True)
        raise
    except BaseException as error:
        kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__}  # by name: to import them takes seconds
        if "prefect.exceptions.TerminationSignal" in kinds:
            typer.echo("stopped from outside (SIGTERM, or Cancel on a page); run the same command again to resume", err=True)
            sys.exit(128 + signal.SIGTERM)
        if "httpx.HTTPError" in kinds:
            typer.echo(f"error: {_away(error)}", err=True)
            sys.exit(2)
        raise


if __name__ == "__main__":
    main()
