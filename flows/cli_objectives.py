"""`plumbline objectives`: what there is, what each needs, how it behaves."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli_command import AsJson, Command
from flows.outputs import to_file

app = typer.Typer(help="List the objectives, or show one.", invoke_without_command=True)


@app.callback()
def table(context: typer.Context, as_json: AsJson = False) -> None:
    """List the objectives, or show one."""
    if context.invoked_subcommand:
        return
    from models.objectives.catalogue import rows

    if as_json:
        typer.echo(json.dumps(rows(), indent=2, ensure_ascii=False))
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from flows.display import console

    shown = Table(box=SIMPLE_HEAD, padding=(0, 1), caption=f"{len(rows())} objectives; plumbline objectives show NAME says more")
    most = max(len(row["served_by"]) for row in rows())
    for name in ("name", "what it does", "needs", "reference", "served by", "on-policy", "paper"):
        shown.add_column(name, overflow="fold")
    for row in rows():
        needs = ", ".join(need for need in row["needs"] if need != "reference") or "chosen answers"
        reference = "yes" if row["reference"] else "–"
        shown.add_row(
            *(row["name"], row["summary"], needs.replace("_", " "), reference, _served(row, most)),
            *(row["on_policy"], row["paper"] + _mark(row)),
        )
    console().print(shown)


@app.command(cls=Command)
def show(
    name: Annotated[str, typer.Argument(help="An objective's name.")],
    plot: Annotated[Path | None, to_file("Also draw its loss and gradient over the margin to this PNG.")] = None,
) -> None:
    """Show an objective's formula and defaults, when to use it and when not."""
    from models.objectives.catalogue import describe
    from models.objectives.catalogue import plot as draw

    row = describe(name)
    typer.echo(f"{row['name']}: {row['summary']}\n\n{row['text']}\n")
    if row["symbols"]:
        typer.echo(f"symbols    {row['symbols']}")
    typer.echo(f"needs      {', '.join(row['needs']) or 'chosen answers only'}")
    if row["alone"]:
        typer.echo(f"takes      {' or '.join(row['alone'])} answers alone, too")
    typer.echo(f"served by  {row['data']} by {', '.join(row['served_by'])}")
    typer.echo(f"defaults   {', '.join(f'{k} = {v}' for k, v in row['defaults'].items()) or 'none'}")
    typer.echo(f"paper      {row['paper']}{_mark(row)}")
    if plot is not None:
        plot.parent.mkdir(parents=True, exist_ok=True)
        draw(name, plot)
        typer.echo(f"plot       {plot}")


def _served(row: dict[str, Any], most: int) -> str:
    """ "pairs by any method" where nearly nothing is asked, else the methods."""
    return f"{row['data']} by {'any method' if len(row['served_by']) == most else ', '.join(row['served_by'])}"


def _mark(row: dict[str, Any]) -> str:
    return " (reconstructed)" if row["reconstructed"] else ""
