"""`plumbline judge`: what does a judge say of answers, and is it to be trusted?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli_command import Command, Sets
from flows.outputs import to_folder

if TYPE_CHECKING:
    from tasks.calibrate import Calibration

app = typer.Typer(help="Have answers judged, and measure how far a judge is to be trusted.", no_args_is_help=True)

Config = Annotated[Path, typer.Argument(help="A run's configuration: its judge is asked, with its teacher.")]


@app.command(cls=Command)
def rate(
    config: Config,
    answers: Annotated[Path, typer.Argument(help="JSON lines with prompt and answer, or a folder with a run's samples.")],
    out: Annotated[Path, to_folder("A folder for scores.jsonl, the datasets and the journal.")] = Path("runs/rate"),
    field: Annotated[list[str] | None, typer.Option(help="prompt=NAME or answer=NAME: what the file calls it.")] = None,
    set_: Sets = None,
) -> None:
    """Score answers and rank those to one prompt.

    A judge that compares gives win rates, and the order that agrees most with all its comparisons.
    """
    import json

    from data_contracts.load_config import load_rounds

    run, names = load_rounds(config, "judge", set_ or []), _names(field)
    from data_contracts.store import write_text
    from flows.evaluate import open_asked, watch
    from flows.template import check_judges
    from tasks.criteria import check_templates
    from tasks.rate import rate as rate_samples
    from tasks.rate import rated_rows, samples_in

    check_templates(run.judge)
    check_judges(run, {"judge": run.judge})
    samples = samples_in(answers, out / "answers", names)
    with open_asked(run, out, watched=True) as teacher, watch("judging", watched=True) as progress:
        scores = rate_samples(out / "scores", samples, run.judge, teacher, run.seed, progress)
    rows = rated_rows(samples, scores)
    write_text(out / "scores.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    mean = "–" if scores.facts["mean"] is None else f"{scores.facts['mean']:.3f}"
    prompts = len({row["prompt_id"] for row in scores.records()})
    typer.echo(f"{len(rows)} answers to {prompts} prompts, mean score {mean}, {scores.facts['unscored']} without a score")
    typer.echo(out / "scores.jsonl")


@app.command(cls=Command)
def calibrate(
    config: Config,
    recorded: Annotated[Path, typer.Option(help="JSON lines with comparisons that somebody already judged.")],
    field: Annotated[
        list[str] | None, typer.Option(help="prompt=NAME, also first, second and first_wins: what the file calls it.")
    ] = None,
    out: Annotated[Path, to_folder("A folder for calibration.json, calibration.png and the journal.")] = Path("runs/calibrate"),
    set_: Sets = None,
    limit: Annotated[int | None, typer.Option(min=2, help="Only so many comparisons, from the file's beginning.")] = None,
) -> None:
    """Measure a judge against recorded verdicts.

    Beside it stand one that prefers the first and one that prefers the longer answer.
    """
    from data_contracts.load_config import load_rounds

    run, names = load_rounds(config, "judge", set_ or []), _names(field)
    from flows.evaluate import open_asked, watch
    from flows.template import check_judges
    from tasks.calibrate import calibrate as measure
    from tasks.calibrate import recorded_verdicts, reference_judges, write_calibration
    from tasks.criteria import check_templates
    from tasks.judge import compare, judge_name
    from tasks.recorded import read_recorded

    check_templates(run.judge)
    check_judges(run, {"judge": run.judge})
    rows = read_recorded(recorded, names)[:limit]
    comparisons = [row.comparison for row in rows]
    with open_asked(run, out, watched=True) as teacher, watch("judging", watched=True) as progress:
        verdicts = compare(comparisons, run.judge, teacher, run.seed, progress)
        judged = {judge_name(run.judge, teacher): verdicts} | reference_judges(rows)
    found = [measure(name, rows, made) for name, made in judged.items()]
    write_calibration(out, found, rows, judged)
    _show([*found, measure("the record itself", rows, recorded_verdicts(rows))], len(rows))
    typer.echo(f"{out / 'calibration.json'}   {out / 'calibration.png'}")


def _names(field: list[str] | None) -> dict[str, str]:
    return {name: called for name, _, called in (pair.partition("=") for pair in field or [])}


def _show(found: "list[Calibration]", count: int) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from flows.display import console

    table = Table(box=SIMPLE_HEAD, padding=(0, 1), title=f"{count} recorded comparisons, 95 % intervals")
    table.add_column("judge", overflow="fold", max_width=30)
    names = ("accuracy", "kappa", "ties", "first_position", "orders_agree", "length_gap", "length_correlation")
    for name in names:
        table.add_column(name.replace("_", "\n"), justify="right")
    for c in found:
        table.add_row(Text(c.judge), *(_cell(c.figures[name]) for name in names))
    console().print(table)
    for c in found:
        typer.echo(f"{c.judge}: {'; '.join(c.flags) or 'nothing to hold against it'}")


def _cell(figure: dict[str, float] | None) -> str:
    return "–" if figure is None else f"{figure['mean']:.2f}\n{figure['low']:.2f} to {figure['high']:.2f}"
