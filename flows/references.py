"""The models a round is aligned against, and carried on from. Wiring only."""

from dataclasses import dataclass
from pathlib import Path

from flows.session import Session
from flows.step import step
from models.checkpoint import Checkpoint, open_checkpoint
from tasks.lineage import Standing, champions, trained
from tasks.reference import extrapolated_reference


@dataclass(frozen=True)
class References:
    main: Checkpoint
    second: Checkpoint | None = None
    before: Checkpoint | None = None  # what the last training gave, for momentum


def references(s: Session, folder: Path, name: str, champion: Standing, number: int) -> References:
    """As `align` names them. In the first round there is no way behind the start to carry on: it is its own reference."""
    config = s.rounds.align
    named = {"initial": s.policy, "previous": champion.model}
    main = named.get(config.reference, champion.model)
    if config.reference == "extrapolated":
        line = champions(s.folder, number)
        before = s.policy if len(line) < 2 else trained(s.folder, s.policy, line[-2])
        stage = f"{name}: reference"
        made = step(stage, extrapolated_reference, folder / "reference", champion.model, before, config.extrapolation)
        main = open_checkpoint(made.folder / "model")
    second = None
    if config.second_reference:
        second = named.get(config.second_reference) or s.others[config.second_reference]
    return References(main, second, trained(s.folder, s.policy, champion.round) if config.momentum else None)
