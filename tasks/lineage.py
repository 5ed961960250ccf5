"""Which model stands as champion when a round begins: the latest one that was promoted, else the start."""

from dataclasses import dataclass
from pathlib import Path

from data_contracts.store import Dataset, open_dataset
from models.checkpoint import Checkpoint, open_checkpoint
from tasks.promote import read_decision


@dataclass(frozen=True)
class Standing:
    round: int  # 0 is the start
    model: Checkpoint
    answers: Dataset


def standing(run: Path, start: Checkpoint, before_round: int) -> Standing:
    """The champion that round `before_round` starts from: a round that was rolled back leaves its predecessor in place."""
    for number in range(before_round - 1, 0, -1):
        folder = run / f"round-{number}"
        decision = read_decision(folder / "decision.json")
        if decision is not None and decision.promoted:
            return Standing(number, open_checkpoint(folder / "align" / "model"), open_dataset(folder / "evaluate"))
    return Standing(0, start, open_dataset(run / "round-0" / "evaluate"))
