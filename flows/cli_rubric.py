"""`plumbline rubric`: what judges judge by."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli_command import Command, Sets
from flows.outputs import to_file

app = typer.Typer(help="Derive rubrics for judges.", no_args_is_help=True)


@app.callback()
def rubric() -> None:
    """Derive rubrics for judges."""


@app.command(cls=Command)
def derive(
    config: Annotated[Path, typer.Argument(help="A run's configuration: its teacher proposes and votes, as its judge is set.")],
    pairs: Annotated[Path, typer.Option(help="Preferences as JSON lines, plain or gzip.")],
    out: Annotated[Path, to_file("The rubric, a new YAML file; candidates and journal go beside it.")],
    candidates: Annotated[int, typer.Option(min=1, help="Principles to vote on.")] = 12,
    per_pair: Annotated[int, typer.Option(min=1, help="Principles that one pair may suggest.")] = 2,
    keep: Annotated[int, typer.Option(min=1, help="Criteria of the rubric, at most.")] = 6,
    limit: Annotated[int | None, typer.Option(min=2, help="Only so many pairs, from the file's beginning.")] = None,
    set_: Sets = None,
) -> None:
    """Derive a rubric from labelled pairs.

    Principles are proposed, clustered and voted on; those that predict the labels are kept.
    """
    from data_contracts.config_rubric import DeriveConfig
    from data_contracts.errors import PlumblineError
    from data_contracts.load_config import load_rounds

    run = load_rounds(config, "teacher", set_ or [])
    if run.judge.kind != "generation":
        raise PlumblineError(f"judge.kind is {run.judge.kind}: principles vote by comparing, so give --set judge.kind=generation")
    if out.exists():
        raise PlumblineError(f"{out} exists already: a rubric that may be in use is not rewritten; name another file")
    from data_contracts.plain import safe
    from data_contracts.rubric import dump_rubric
    from data_contracts.store import write_json, write_text
    from flows.evaluate import open_asked, watch
    from tasks.comparison import Comparison
    from tasks.derive_rubric import derive_rubric
    from tasks.import_pairs import read_preferences

    labelled = [Comparison(*preference) for preference in read_preferences(pairs)[:limit]]
    settings = DeriveConfig(candidates=candidates, per_pair=per_pair, keep=keep)
    folder = out.with_name(f"{out.stem}.work")
    with open_asked(run, folder, watched=True) as teacher, watch("deriving", watched=True) as progress:
        made, tried = derive_rubric(labelled, settings, run.judge, teacher, run.seed, progress)
    said = [{"text": c.text, "proposed": c.proposed, "kept": c.is_kept, **c.evidence.model_dump()} for c in tried]
    write_json(folder / "candidates.json", said)
    for c in tried:
        e = c.evidence
        sure = f"{e.accuracy:.2f} ({e.low:.2f}–{e.high:.2f}) of {e.decided} decided of {e.pairs}"
        typer.echo(f"{'keep' if c.is_kept else '    '}  {sure}  {safe(c.text)}")
    if made is None:
        raise PlumblineError(
            f"none of {len(tried)} principles predicts the labels better than chance: give more pairs, or another teacher "
            f"(all candidates are in {folder / 'candidates.json'})"
        )
    write_text(out, dump_rubric(made))
    typer.echo(f"{out}: {len(made.criteria)} criteria; use it with judge.rubric")
