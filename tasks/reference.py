"""Reference: the checkpoint that lies beyond the present champion, away from the one before it (momentum of references)."""

from pathlib import Path

from data_contracts.store import Dataset, Rows, build
from models.checkpoint import Checkpoint, open_checkpoint
from models.extrapolation import write_extrapolation


def extrapolated_reference(folder: Path, champion: Checkpoint, before: Checkpoint, amount: float) -> Dataset:
    """The folder `model` inside: `champion` + `amount` (`champion` - `before`), arXiv 2410.06293. One row a tensor.

    Raises PlumblineError for two architectures.
    """

    def make(work: Path) -> tuple[Rows, dict[str, str]]:
        rows = write_extrapolation(champion.path, before.path, amount, work / "model")
        return rows, {"model_hash": open_checkpoint(work / "model").hash}

    return build(folder, "extrapolations", {"amount": amount}, make, models={"champion": champion.hash, "before": before.hash})
