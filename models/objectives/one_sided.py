"""Rows with one side of a pair alone, a good or a bad answer: what can be trained on them, and what they are refused.

A row of one answer counts as that answer, a whole pair as two; the batch's mean is over rows.
"""

from pathlib import Path
from typing import Literal

import pyarrow.compute as pc

from data_contracts.config import HumanPairsConfig, RoundsConfig
from data_contracts.config_align import AlignConfig
from data_contracts.errors import PlumblineError
from data_contracts.store import read_parquet
from models.objectives import build_objective
from models.objectives.batch import Need
from models.transcripts import first_object, is_labelled

Side = Literal["chosen", "rejected"]
_REMEDY = "leave such rows out, or train with kto, bco, apo_zero_unpaired or aot_unpaired"
_COMPARING = Need.PAIR | Need.LIST | Need.OLD_TOKENS


def alone(align: AlignConfig) -> tuple[Side, ...]:
    """The sides of a pair that `align` can be trained on where the other one is missing."""
    if _comparing(align):
        return ()
    return ("chosen",) if _on_chosen(align) else ("chosen", "rejected")


def refuse_one_sided(folder: Path, align: AlignConfig) -> None:
    """Raises PlumblineError if the pairs in `folder` hold rows of one side that `align` cannot be trained on, with their number;
    and where held-out pairs are to be ranked, if there is no whole one."""
    table = read_parquet(folder / "data.parquet", columns=["chosen_ids", "rejected_ids"])
    rows, no_chosen, no_rejected = table.num_rows, table["chosen_ids"].is_null(), table["rejected_ids"].is_null()
    taken, one_sided = alone(align), pc.sum(pc.or_(no_chosen, no_rejected)).as_py() or 0
    if one_sided and not taken:
        raise PlumblineError(
            f"{one_sided} of {rows} rows in {folder} are one-sided (a good or a bad answer alone), and {_comparing(align)} "
            f"compares both sides: {_REMEDY}"
        )
    if one_sided and "rejected" not in taken and (bad := pc.sum(no_chosen).as_py()):
        raise PlumblineError(
            f"{bad} of {rows} rows in {folder} hold a rejected answer alone, and {_on_chosen(align)} takes the "
            f"chosen one: {_REMEDY}"
        )
    if align.early_stop is not None and one_sided == rows:
        raise PlumblineError(
            f"align.early_stop ranks held-out pairs, and all {rows} rows in {folder} are one-sided: leave it out"
        )


def refuse_labels(config: RoundsConfig | HumanPairsConfig) -> None:
    """Raises PlumblineError for a file of labelled single answers and a config that compares two, before anything is read."""
    file = config.pairs.file if isinstance(config, HumanPairsConfig) else config.prompts.file
    if not isinstance(config, HumanPairsConfig) and config.method.name != "recorded":
        return
    if not alone(config.align) and is_labelled(first_object(Path(file))):
        raise PlumblineError(
            f"{file} holds labelled single answers (prompt, completion, label), and {_comparing(config.align)} compares both "
            f"sides of a pair: {_REMEDY}"
        )


def _comparing(align: AlignConfig) -> str | None:
    """What in `align` needs both sides."""
    wrappers = align.wrappers
    settings = {
        "align.curriculum": align.curriculum is not None,
        "align.wrappers.trim": wrappers.trim,
        "align.wrappers.length_desensitising": wrappers.length_desensitising is not None,
        f"align.wrappers.weight_by {wrappers.weight_by}": wrappers.weight_by not in (None, "given"),
    }
    compared = [f"objective {name}" for name, needs in _parts(align) if needs & _COMPARING]
    return next(iter([*compared, *(name for name, is_set in settings.items() if is_set)]), None)


def _on_chosen(align: AlignConfig) -> str | None:
    """What in `align` looks at the chosen answer, whatever its label."""
    anchored = ["align.wrappers.nll_anchor"] if align.wrappers.nll_anchor else []
    return next(iter([*(f"objective {name}" for name, needs in _parts(align) if Need.LABELS not in needs), *anchored]), None)


def _parts(align: AlignConfig) -> list[tuple[str, Need]]:
    return [(part.name, build_objective(part).needs) for part in align.objectives]
