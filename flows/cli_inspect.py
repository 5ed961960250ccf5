"""`plumbline inspect`: preference data beside each other, as a table and as a page."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from flows.cli_command import AsJson
from flows.outputs import to_file


def inspect(
    sources: Annotated[list[str], typer.Argument(metavar="DATASET…", help="Folders of pairs, or preference files (JSON lines).")],
    model: Annotated[str | None, typer.Option(help="For preference files: the checkpoint whose tokenizer encodes them.")] = None,
    reference: Annotated[str | None, typer.Option(help="Also measure this model's log-ratio gap, chosen over rejected.")] = None,
    out: Annotated[Path | None, to_file("Write the page with charts and the pairs themselves here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show how contrastive pairs are, by method, and the pairs themselves."""
    from tasks.inspect_pairs import parts, read, render, told_apart

    with TemporaryDirectory() as scratch:
        datasets = [read(source, model, Path(scratch) / str(i)) for i, source in enumerate(sources)]
        for source, (_, data) in zip(sources, datasets, strict=True):
            for text in data.facts.get("warnings", []) if Path(source).is_file() else []:
                typer.echo(f"{source}: {text}", err=True)
        names = [name for name, _ in datasets]
        if len(set(names)) < len(names):  # two stages of one round
            datasets = [(name, data) for name, (_, data) in zip(told_apart(sources), datasets, strict=True)]
        gaps: list = [None] * len(datasets)
        if reference:
            from models.checkpoint import open_checkpoint
            from models.training.process import Trainer
            from tasks.rank import rank

            checkpoint, trainer = open_checkpoint(reference), Trainer(Path(scratch) / "trainer.log")
            try:
                places = [Path(scratch) / str(i) / "rank" for i in range(len(datasets))]
                gaps = [rank(place, data, checkpoint, trainer) for place, (_, data) in zip(places, datasets, strict=True)]
            finally:
                trainer.close()
        found = parts(datasets, gaps)
        if as_json:
            import json

            typer.echo(json.dumps({part.label: part.figures for part in found}, indent=2, ensure_ascii=False))
        else:
            from flows.display import console

            console().print(render(found))
        if out:
            from tasks.inspect_page import write_page

            out.parent.mkdir(parents=True, exist_ok=True)
            write_page(out, found)
            typer.echo(f"page        {out}", err=as_json)
