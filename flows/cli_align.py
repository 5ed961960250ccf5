"""`plumbline align`: one training by itself, in one process or as many as a launcher starts on however many nodes."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli_command import Sets
from flows.outputs import folder_can_be


def align(
    config: Annotated[Path, typer.Argument(help="A run's configuration: its policy, align and seed are used.")],
    pairs: Annotated[Path, typer.Argument(help="A pairs or lists dataset, for example runs/demo/round-1/validate_pairs.")],
    out: Annotated[
        Path,
        typer.Argument(callback=folder_can_be, help="Where the trained model and its record go. All nodes must see this folder."),
    ],
    policy: Annotated[str | None, typer.Option(help="Train this checkpoint instead of the configuration's policy.")] = None,
    reference: Annotated[str | None, typer.Option(help="Its reference; the policy itself if not given.")] = None,
    set_: Sets = None,
) -> None:
    """Train on a finished dataset, with one process or many.

    The files in infra/accelerate/ say how torchrun and accelerate launch start many, on one node or several.
    """
    from data_contracts.errors import PlumblineError
    from data_contracts.load_config import load_config
    from data_contracts.store import open_dataset
    from flows.display import working
    from models.check_model import check_model
    from models.checkpoint import open_checkpoint
    from models.training.launched import Launched, is_launched
    from models.training.process import Trainer
    from tasks.align import align as stage

    c = load_config(config, set_ or [])
    if c.align.momentum:
        raise PlumblineError("align.momentum continues from the round before, and a single training has none: leave it out")
    folder = out.resolve()
    trainer = Launched() if is_launched() else Trainer(folder.with_name(f"{folder.name}.log"), c.align.processes)
    if isinstance(trainer, Launched) and not trainer.first:
        trainer.serve()
        return
    start = open_checkpoint(policy or c.policy)
    check_model(start.path, chat=False)
    named = c.align.second_reference
    second = start if named in ("initial", "previous") else open_checkpoint(named) if named else None
    with working("align") as progress:
        done = stage(
            folder,
            open_dataset(pairs),
            c.align,
            start,
            open_checkpoint(reference) if reference else start,
            c.seed,
            trainer,
            progress,
            second,
        )
    trainer.close()
    typer.echo(f"{done.facts['verdict']}\n{done.rows} steps in {done.seconds:.0f} s; the model is {done.folder / 'model'}")
