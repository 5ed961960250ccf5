"""Train a preference model: pairs in, a folder out that can judge (`judge.kind: preference_model`), with its card."""

import math
import shutil
from pathlib import Path
from typing import Any

from data_contracts.config import PairsFileConfig
from data_contracts.config_preference import PreferenceConfig
from data_contracts.errors import PlumblineError
from data_contracts.store import Dataset, load_json, open_dataset, write_json
from models.chat import opening
from models.checkpoint import Checkpoint
from models.preference.store import CARD, open_preference
from models.training.process import Trainer
from models.training.progress import Progress
from tasks.import_pairs import import_pairs, split_held_out
from tasks.rank import share


def train_preference(
    out: Path, pairs: Path, base: Checkpoint, config: PreferenceConfig, trainer: Trainer, progress: Progress
) -> dict[str, Any]:
    """The card of the preference model that is then in `out`; the folder appears when everything in it is complete.

    `pairs` is a file as plumbline imports them, or the folder of a pairs dataset made for the same tokenizer. A share of the
    conversations is held out; `accuracy` on it comes with a 95 % interval and, to compare, with what always taking the longer
    answer would score. The datasets stay beside the model in `data/`.

    Raises PlumblineError if `out` exists, or for pairs that cannot be used.
    """
    if out.exists():
        raise PlumblineError(f"{out} exists already: name another folder, or remove it")
    if not pairs.exists():
        raise PlumblineError(f"there is no file {pairs}: name JSON lines with preferences, or a pairs dataset's folder")
    work = out.with_name(f".{out.name}.partial")
    if work.exists():
        shutil.rmtree(work)
    work.mkdir(parents=True)
    data = _pairs(work / "data" / "pairs", pairs, base)
    sides = [split_held_out(work / "data" / side, data, config.held_out, config.seed, side) for side in ("train", "held_out")]  # type: ignore[arg-type]
    job = {"kind": "preference", "config": config.model_dump(mode="json"), "base": str(base.path), "out": str(work)}
    done = trainer.run(job | {"pairs": str(sides[0].folder), "held_out": str(sides[1].folder)}, progress)
    rows = sides[1].records()
    openings = [opening(row["prompt"]) for row in rows]
    chances = done["probabilities"]
    card = load_json(work / CARD) | {
        "base": base.hash,
        "pairs": sides[0].rows,
        "held_out_pairs": len(rows),
        "accuracy": share([p > 0.5 for p in chances], openings),
        "longer": share([len(r["chosen"]) > len(r["rejected"]) for r in rows], openings),
        "held_out_loss": _log_loss(chances),
        "last_loss": done["losses"][-1],
        "steps": len(done["losses"]),
        "config": config.model_dump(mode="json"),
        "data": {side.folder.name: side.key for side in sides},
    }
    write_json(work / CARD, card)
    work.rename(out)
    return card | {"hash": open_preference(out).checkpoint.hash}


def _pairs(folder: Path, pairs: Path, base: Checkpoint) -> Dataset:
    found = open_dataset(pairs) if pairs.is_dir() else import_pairs(folder, PairsFileConfig(file=str(pairs)), base)
    if found.kind != "pairs":
        raise PlumblineError(f"{pairs} is a dataset of {found.kind}, not of pairs: name one of pairs")
    one_sided = sum(found.table()[f"{side}_ids"].null_count for side in ("chosen", "rejected"))
    if one_sided:
        raise PlumblineError(
            f"{one_sided} of {found.rows} rows in {pairs} are one-sided, and a preference model compares answers: leave them out"
        )
    return found


def _log_loss(chances: list[float]) -> float:
    return -sum(math.log(max(p, 1e-12)) for p in chances) / len(chances)
