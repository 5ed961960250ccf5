"""`plumbline teacher`: what has been asked and paid for, in and out of a journal, and a provider's batches."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli_command import Command
from flows.outputs import to_folder

if TYPE_CHECKING:
    from models.journal import Journal

app = typer.Typer(help="List, export and import a teacher's calls; write batches.", no_args_is_help=True)

Where = Annotated[Path, typer.Argument(metavar="JOURNAL", help="A run's folder, or a journal file such as runs/journal.db.")]


@app.command("list", cls=Command)
def list_(journals: Annotated[list[Path], typer.Argument(metavar="JOURNAL…", help="Runs' folders, or journal files.")]) -> None:
    """List calls, tokens and cost by model and by how the replies ended."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from data_contracts.plain import plain
    from flows.display import console

    for where in journals:
        journal, _ = _open(where)
        table = Table(box=SIMPLE_HEAD, padding=(0, 1), title=Text(str(journal.path)), title_justify="left")
        for name in ("model", "ended", "calls", "input tokens", "output tokens", "cost"):
            table.add_column(name, justify="left" if name in ("model", "ended") else "right", overflow="fold")
        for model, reason, calls, read, written, cost in journal.summary():
            money = "–" if cost is None else f"{cost:,.4f}"
            table.add_row(Text(plain(model)), Text(plain(reason)), f"{calls:,}", _count(read), _count(written), money)
        console().print(table)


@app.command(cls=Command)
def export(where: Where) -> None:
    """Write every request and reply to standard output, a JSON object a line."""
    import json

    for call in _open(where)[0].calls():
        typer.echo(json.dumps(call))


@app.command("import", cls=Command)
def import_(
    where: Where, files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="A batch's results, or an export.")]
) -> None:
    """Read a batch's results, or what `export` wrote, into the journal.

    Given a run's folder, the run pays.
    """
    from models.teachers.batch import read_results

    journal = _open_to_pay(where) if where.is_dir() else _open(where, must_exist=False)[0]
    for file in files:
        counts = ", ".join(f"{count} {what}" for what, count in read_results(file, journal).items())
        typer.echo(f"{file}: {counts}; {len(journal.wanted())} requests still wait")


@app.command("export-batch", cls=Command)
def export_batch(
    where: Where,
    out: Annotated[Path | None, to_folder("A folder; `batch` beside the journal if not given.")] = None,
) -> None:
    """Write what stopped runs still lack as a provider's batch files.

    Given a run's folder, what that run lacks.
    """
    from models.teachers.batch import write_requests

    journal, run = _open(where)
    folder = out or (where if where.is_dir() else journal.path.parent) / "batch"
    requests = journal.wanted(run or None).values()
    for path in write_requests(requests, folder):
        typer.echo(path)
    last = f"then: plumbline teacher import {where} RESULTS" if requests else "nothing waits"
    typer.echo(f"{len(requests)} requests; {last}", err=True)


def _open(where: Path, must_exist: bool = True) -> tuple["Journal", str]:
    """The journal, and the name of the run if `where` is one's folder."""
    from data_contracts.errors import PlumblineError
    from models.journal import Journal, find_journal

    path, run = find_journal(where) if where.is_dir() else (where, "")
    if must_exist and not path.is_file():
        raise PlumblineError(
            f"{where} is no journal and holds none: name a run's folder or a journal file, such as runs/journal.db"
        )
    return Journal(path, run), run


def _open_to_pay(folder: Path) -> "Journal":
    """The journal of a run, with the price that its configuration names."""
    from data_contracts.load_config import load_rounds
    from models.teachers.open import open_journal
    from tasks.summary import read_config

    read_config(folder)
    return open_journal(load_rounds(folder / "config.yaml", "teacher").teacher, folder)


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
