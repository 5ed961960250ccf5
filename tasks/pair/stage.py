"""The stage `pair`: the method's function over finished datasets, as a dataset."""

from collections.abc import Sequence
from pathlib import Path

from data_contracts.config_pairs import Method
from data_contracts.store import Dataset, Row, Rows, build
from tasks.pair import METHODS
from tasks.pair.rows import Given


def pair(
    folder: Path,
    method: Method,
    given: Sequence[Dataset],
    policy: str,
    initial: str,
    number: int,
    seed: int,
    alone: Sequence[str] = (),
) -> Dataset:
    """The "pairs" that `method` picks from the datasets it reads, in the order that METHODS names them.

    `policy` and `initial` are the hashes of the checkpoints that learns from them and that the run began with. `alone` names the
    sides that are kept by themselves, where the method knows of a prompt's only answer which one it is. What is left out is
    counted in the facts.
    """
    kept = tuple(alone) if METHODS[method.name].alone else ()

    def make(_work: Path) -> tuple[Rows, Row]:
        return METHODS[method.name].make(Given(method, [d.records() for d in given], policy, initial, number, seed, kept))

    settings = method.model_dump(mode="json", exclude={"name", "sources", "stronger", "weaker"})  # who answers is in the parents
    lot = {"seed": seed} if METHODS[method.name].draws else {}
    sides = {"alone": list(kept)} if kept else {}
    return build(folder, "pairs", {"method": method.name} | settings | lot | sides, make, given)
