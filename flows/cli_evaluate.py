"""`plumbline score` and `plumbline evaluate`: what response files are worth, and what a checkpoint is."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli_command import AsJson
from flows.outputs import to_folder

if TYPE_CHECKING:
    from rich.table import Table

    from tasks.score_responses import Scored

Parser = Annotated[
    str,
    typer.Option(help="How answers are read: rule, official-rule, model, official-model, or one by its version, such as rule-1."),
]
TeacherOf = Annotated[Path | None, typer.Option("--teacher", help="A run's configuration: its teacher reads for a model parser.")]
_SHOWN = 5  # unparsed answers, each with its beginning


def score(
    folder: Annotated[Path, typer.Argument(help="One model's response files: <model>_close_freeform[_hard].jsonl and so on.")],
    parser: Parser = "rule",
    benchmark: Annotated[
        str | None, typer.Option(help="The benchmark they answer: they are checked against it, and its version is named.")
    ] = None,
    against: Annotated[list[Path] | None, typer.Option(help="Response files of another model; may be given again.")] = None,
    teacher: TeacherOf = None,
    out: Annotated[Path | None, to_folder("Write MixEval's score.json and judge_results files here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score MixEval response files of any model."""
    from flows.evaluate import open_reader, watch
    from models.responses import read_responses
    from tasks.score_responses import check_benchmark, comparison, score_responses, write_scores

    name = _version(parser)
    found = [read_responses(one) for one in (folder, *(against or []))]
    if benchmark is not None:
        found = [check_benchmark(responses, benchmark) for responses in found]
    with open_reader(name, teacher, out or folder, not as_json) as reader, watch("reading answers", not as_json) as progress:
        scored = [score_responses(responses, name, reader, progress) for responses in found]
    if out is not None:
        write_scores(out, scored[0])
    _show(scored[0], comparison(scored), as_json)


def evaluate(
    model: Annotated[str, typer.Argument(help="A checkpoint's folder, or a hub id such as org/name.")],
    benchmark: Annotated[str, typer.Option(help="A folder in MixEval's data format, or hub:org/name/folder.")],
    parser: Parser = "rule",
    prompts: Annotated[str, typer.Option(help="mixeval (chat models), mixeval-base (five-shot) or plain.")] = "mixeval",
    shots: Annotated[
        Path | None, typer.Option(help="Examples for base models: a folder with free-form.txt and multiple-choice.txt.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Of an answer; if not given 512, for base models 399, as in MixEval.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call the model; its folder's name if not given.")] = None,
    out: Annotated[Path, to_folder("Everything goes to OUT/<name>/<benchmark>/<version>.")] = Path("runs/evaluate"),
    teacher: TeacherOf = None,
    as_json: AsJson = False,
) -> None:
    """Have a model answer a benchmark, and score the answers.

    They are kept as MixEval's response files; run again, no question is asked again.
    """
    from data_contracts.config_evaluate import EvaluateConfig
    from data_contracts.errors import PlumblineError
    from flows.evaluate import answer_benchmark, open_reader, reader_of, watch
    from models.parsers import asks_teacher
    from tasks.score_responses import comparison, score_responses, write_scores

    if prompts not in (styles := ("mixeval", "mixeval-base", "plain")):
        raise PlumblineError(f"--prompts is {prompts!r}: use one of {', '.join(styles)}")
    limit = max_tokens or (399 if prompts == "mixeval-base" else 512)
    how = {"prompts": prompts, "shots": str(shots) if shots else None, "max_tokens": limit, "parser": _version(parser)}
    config = EvaluateConfig.model_validate({"benchmark": benchmark, **how})
    reads = reader_of(config.parser, teacher) if asks_teacher(config.parser) else None
    folder, answered = answer_benchmark(model, config, out, name, not as_json, reads)
    with open_reader(config.parser, teacher, folder, not as_json) as reader, watch("reading answers", not as_json) as progress:
        scored = score_responses(answered, config.parser, reader, progress)
    write_scores(folder, scored)
    _show(scored, comparison([scored]), as_json)
    if not as_json:
        typer.echo(f"responses   {folder}")


def _version(parser: str) -> str:
    """The parser's full name, of the newest version where none is given."""
    from data_contracts.errors import PlumblineError
    from models.parsers import ALIASES, NAMES

    name = ALIASES.get(parser, parser)
    if name not in NAMES:
        raise PlumblineError(f"--parser is {parser!r}: use one of {', '.join((*ALIASES, *NAMES))}")
    return name


def _show(scored: "Scored", compared: dict[str, Any], as_json: bool) -> None:
    from data_contracts.plain import safe
    from tasks.score import metric_name
    from tasks.score_responses import unparsed
    from tasks.selection import selection_warning

    left = unparsed(scored)
    if as_json:
        named = metric_name(scored.answered.benchmark, scored.parser, "overall")
        said = {"model": scored.answered.model, "metric": named, "benchmark": scored.answered.benchmark, "parser": scored.parser}
        typer.echo(json.dumps(said | scored.facts | compared | {"unparsed": left}, indent=2, ensure_ascii=False))
        return
    from rich.markup import escape

    from flows.display import console

    out = console()
    out.print(_table(scored))
    many = f", adjusted for {len(compared['gains'])} comparisons" if len(compared["gains"]) > 1 else ""
    for gain in compared["gains"]:
        interval = f"95 % interval {gain['low']:+.3f} to {gain['high']:+.3f}, p = {gain['p']:.4f}{many}"
        distinct = f"paired, {gain['distinct']} distinct questions"
        out.print(f"against {escape(safe(gain['against']))}: {gain['mean']:+.3f} ({interval}, {distinct})")
    if picked := compared["selection"]:
        out.print(f"[yellow]Warning:[/] {escape(safe(scored.answered.model))} {selection_warning(**picked)}.")
    guessed = ", guessed as upstream does" if scored.parser.startswith("official") else ""
    for answer in left[:_SHOWN]:
        place, begin = f"{answer['question']} ({answer['benchmark']})", repr(answer["response"][:80])
        out.print(f"[dim]unparsed{guessed}: {escape(safe(place))}:[/] {escape(begin)}", soft_wrap=True)
    if len(left) > _SHOWN:
        out.print(f"[dim]and {len(left) - _SHOWN} more unparsed (--json shows all)[/]")


def _table(scored: "Scored") -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from data_contracts.plain import safe

    title = f"{scored.answered.model} on {scored.answered.benchmark}, {scored.parser}"
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), title=escape(safe(title)))
    table.add_column("")
    for heading in ("mean", "95 % interval", "rows", "distinct", "unparsed"):
        table.add_column(heading, justify="right")
    facts = scored.facts
    for group in ("metrics", "benchmarks"):
        for label, m in facts[group].items():
            interval = f"{m['low']:.3f} to {m['high']:.3f}"
            numbers = (f"{m['mean']:.3f}", interval, *(str(m[k]) for k in ("rows", "distinct", "unparsed")))
            table.add_row(escape(safe(label)), *numbers, end_section=label == "overall")
    return table
