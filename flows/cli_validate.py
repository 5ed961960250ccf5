"""`plumbline validate`: the contracts on a file of one's own, or on a dataset of a run."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from flows.cli_command import AsJson
from flows.outputs import to_folder

_SHOWN = 5


def validate(
    kind: Annotated[str | None, typer.Argument(help="prompts, samples, revisions, verdicts, pairs or lists.")] = None,
    file: Annotated[
        Path | None, typer.Argument(help="A dataset's folder (runs/…/round-1/pair), or for pairs a preference file (JSON lines).")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Whose tokenizer and chat template decide: a checkpoint's folder or hub id.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Prompt and answer together.")] = 4096,
    out: Annotated[Path | None, to_folder("Keep the clean rows, quarantine, gate.json and Data Docs here.")] = None,
    as_json: AsJson = False,
    contracts: Annotated[bool, typer.Option("--contracts", help="List every contract with its severity and bounds.")] = False,
) -> None:
    """Say which rows of a file break which contract.

    Exits with 1 if a row would be set aside.
    """
    from data_contracts.errors import PlumblineError
    from tasks.validate_file import check_file, list_contracts, read_dataset, render

    if contracts:
        _print(list_contracts())
        return
    if kind is None or file is None or model is None:
        raise PlumblineError("validate needs KIND, FILE and --model, for example: plumbline validate pairs FILE --model FOLDER")
    with TemporaryDirectory() as scratch:
        where = out or Path(scratch)
        found = check_file(read_dataset(kind, file, model, where), model, max_tokens, where)
        if as_json:
            import json

            typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        else:
            for part in render(found, _SHOWN):
                _print(part)
            if out:
                typer.echo(f"kept in {out}: validated/ (data, quarantine, gate.json) and data_docs/")
    if found["quarantined"] or found["unreadable"]:
        raise typer.Exit(1)


def _print(part: object) -> None:
    from flows.display import console

    console().print(part)
