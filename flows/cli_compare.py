"""`plumbline compare`, `plumbline rollback`, `plumbline sync`: rounds beside each other, and a step back."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from flows.cli_command import AsJson

Folder = Annotated[Path, typer.Argument(help="A run's folder, for example runs/demo.")]
Either = Annotated[Path, typer.Argument(help="A run's folder or a sweep's.")]


def compare(
    a: Annotated[str, typer.Argument(help="A run's folder (its champion), or FOLDER#round-k.")],
    b: Annotated[str, typer.Argument(help="The same, to compare with A.")],
    as_json: AsJson = False,
) -> None:
    """Show what changed from run or round A to B.

    That is configuration, data, scores with significance, and answers.
    """
    from tasks.compare import compare as beside
    from tasks.compare import open_side

    found = beside(open_side(a), open_side(b))
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    from flows.display import console
    from tasks.compare_text import render

    for part in render(found):
        console().print(part)


def rollback(
    folder: Folder,
    reason: Annotated[str, typer.Option(help="Why; kept in the run folder and in MLflow.")],
    to: Annotated[str | None, typer.Option(help="round-k, or round-0 for the start; the previous champion if not given.")] = None,
) -> None:
    """Make an earlier model champion again.

    The next round starts from it.
    """
    from data_contracts.errors import PlumblineError
    from tasks.lineage import champions, roll_back, round_number
    from tasks.report import write_report
    from tasks.summary import is_finished, read_config
    from tasks.sweep import is_cell

    config = read_config(folder)
    if config["flow"] == "human_pairs":
        raise PlumblineError(
            f"{folder} is one alignment on a preference file, where no round is promoted or rolled back: what it began with is "
            f"still in {config['policy']}"
        )
    told = is_finished(folder)
    if is_cell(folder):
        raise PlumblineError(
            f"{folder} is a cell of a sweep, in which no round follows: plumbline run {folder / 'config.yaml'} makes a run"
        )
    made = roll_back(folder, None if to is None else round_number(to), reason)
    now = champions(folder)[-1]
    typer.echo(
        f"round-{now} is champion already: nothing changed"
        if made is None
        else f"round-{made.to} is champion again (it was round-{made.source}); the next round starts from it"
    )
    if made and told:
        write_report(folder)
    problem = _tell(folder)
    if problem:
        typer.echo(f"{problem}; plumbline sync {folder} tells it when that is over", err=True)


def sync(folder: Either) -> None:
    """Tell MLflow and Prefect what they have missed of a run or a sweep.

    That may be rounds, cells, rollbacks, tables and stages of the time when a server was away, or that a process was killed.
    """
    from data_contracts.errors import PlumblineError
    from data_contracts.plain import plain
    from tasks.failure import read_failure
    from tasks.summary import read_config

    is_sweep = (folder / "sweep.yaml").is_file()
    if not is_sweep:
        read_config(folder)
    if problems := [problem for problem in (_tell(folder), _tell_prefect(folder)) if problem]:
        raise PlumblineError(f"{'; '.join(problems)}; try again when that is over")
    if sentence := read_failure(folder):
        again = "plumbline sweep with its file" if is_sweep else f"plumbline resume {folder}"
        typer.echo(f"it has stopped ({plain(sentence)}): {again} goes on")


def _tell(folder: Path) -> str | None:
    """Bring MLflow up to date, or say in a sentence why that is not possible now."""
    from data_contracts.errors import BusyError, PlumblineError, in_short
    from data_contracts.mask import mask
    from flows.lock import locked
    from flows.services import adopt, unused
    from tasks.tracking import tracking_uri
    from tasks.tracking_sync import catch_up

    servers = folder.resolve().parent / "services"
    adopt(servers)
    if "MLFLOW_TRACKING_URI" not in os.environ and not (folder / "mlflow.db").exists() and (why := unused(servers)):
        return f"MLflow could not be told, since {why}"  # and not: a store of its own knows everything
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # what it waits for is nothing to wait for
    try:
        with locked(folder):
            catch_up(folder)
    except BusyError as busy:
        return f"{busy}, since it tells MLflow by itself"
    except PlumblineError:
        raise
    except Exception as error:  # whatever a server can do wrong
        return f"MLflow could not be told: {in_short(error, 300)}"
    typer.echo(f"{mask(tracking_uri(folder))} knows everything in {folder}")
    return None


def _tell_prefect(folder: Path) -> str | None:
    """Have Prefect's pages say what the folder says, or say in a sentence why that is not possible now."""
    from data_contracts.errors import BusyError, in_short
    from flows import late
    from flows.display import working

    if late.is_told(folder):
        return None
    try:
        with working("telling Prefect"):
            said = late.tell(folder)
    except BusyError as busy:
        return f"{busy}, since it tells Prefect by itself"
    except Exception as error:  # whatever a server can do wrong
        return f"Prefect could not be told: {in_short(error)}"
    typer.echo(said)
    return None
