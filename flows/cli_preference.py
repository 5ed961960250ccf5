"""`plumbline preference`: train a model that judges."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli_command import Command
from flows.outputs import to_folder

app = typer.Typer(help="Train and register preference models.", no_args_is_help=True)


@app.command(cls=Command)
def train(
    pairs: Annotated[Path, typer.Option(help="Preferences as JSON lines (plain or gzip), or the folder of a pairs dataset.")],
    base: Annotated[str, typer.Option(help="A checkpoint's folder or hub id to start from.")],
    out: Annotated[Path, to_folder("A new folder for the model.")],
    kind: Annotated[str, typer.Option(help="bt: Bradley-Terry. gpm: general preference model, which may be cyclic.")] = "bt",
    blocks: Annotated[int, typer.Option(min=1, help="gpm: planes of the embedding.")] = 2,
    learning_rate: Annotated[float, typer.Option(help="AdamW's, at its peak.")] = 1e-5,
    epochs: Annotated[int, typer.Option(min=1, help="How often each pair is seen.")] = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="Pairs a step.")] = 32,
    held_out: Annotated[float, typer.Option(help="Share of the conversations to measure on.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of the held-out part, the new weights and the order of the pairs.")] = 0,
) -> None:
    """Train on pairs, and measure on a held-out part.

    The folder it writes serves as `judge: {kind: preference_model, model: FOLDER}`.
    """
    from pydantic import ValidationError

    from data_contracts.config_preference import PreferenceConfig
    from data_contracts.errors import PlumblineError

    settings = {"kind": kind, "blocks": blocks, "learning_rate": learning_rate, "epochs": epochs, "batch_size": batch_size}
    try:
        config = PreferenceConfig.model_validate(settings | {"held_out": held_out, "seed": seed})
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise PlumblineError(f"--{option} is {first['input']!r}: {first['msg'].removeprefix('Input ')}") from None
    from flows.display import working
    from models.checkpoint import open_checkpoint
    from models.training.process import Trainer
    from tasks.preference import train_preference

    trainer = Trainer(out.with_name(f"{out.name}.log"), 1)
    try:
        with working("train") as progress:
            card = train_preference(out, pairs, open_checkpoint(base), config, trainer, progress)
    finally:
        trainer.close()
    found, longer = card["accuracy"], card["longer"]
    typer.echo(
        f"{out}: {kind} {card['hash']}, {card['pairs']} pairs, {card['steps']} steps\n"
        f"held-out accuracy {found['mean']:.3f} ({found['low']:.3f}–{found['high']:.3f}, {card['held_out_pairs']} pairs), "
        f"always the longer answer: {longer['mean']:.3f}"
    )


@app.command(cls=Command)
def register(
    folder: Annotated[Path, typer.Argument(help="What `train` wrote.")],
    name: Annotated[str, typer.Option(help="The registered model, a new version of which it becomes.")] = "preference",
) -> None:
    """Put a preference model into MLflow's registry.

    That of MLFLOW_TRACKING_URI, or SQLite beside FOLDER.
    """
    from tasks.tracking_preference import register_preference

    version = register_preference(folder.resolve(), name)
    typer.echo(f"{folder} is version {version} of {name}, alias candidate")
