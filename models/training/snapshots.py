"""Where training stands, kept so that a run killed at any moment goes on to bitwise the same weights.

A snapshot is a folder that appears under its name only when it is complete: the trained parameters and the optimiser's moments as
safetensors, and the step, the objective's state and the record of past steps as JSON. The order of the data is a function of the
seed alone, and nothing in training is drawn at random, so that this is all there is.
"""

import json
import os
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from models.objectives.batch import State
from models.training import team
from models.training.methods import trainable

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from models.training.moving import MovingReference

EVERY = 60.0  # seconds between snapshots, and at least SHARE times what the last one took
SHARE = 20.0
KEPT = 2


@dataclass(frozen=True)
class Standing:
    """What has been reached after `step` steps."""

    step: int = 0
    state: State = field(default_factory=State)
    rows: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)


class Snapshots:
    """Snapshots of one training, to which `folder` belongs alone."""

    def __init__(self, folder: Path, moving: "MovingReference | None" = None) -> None:
        self._folder, self._moving = folder, moving
        self._due = time.monotonic() + EVERY

    def save_if_due(self, standing: Standing, model: "PreTrainedModel", optimizer: torch.optim.Optimizer) -> None:
        started = time.monotonic()
        if not team.first(started >= self._due):
            return
        self._save(standing, model, optimizer)
        ended = time.monotonic()
        self._due = ended + max(EVERY, SHARE * (ended - started))

    def _save(self, standing: Standing, model: "PreTrainedModel", optimizer: torch.optim.Optimizer) -> None:
        from safetensors.torch import save_file

        work = self._folder / f".step-{standing.step:08d}.partial"
        if team.rank() == 0:
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
        moments = {f"{i}.{k}": v for i, of in optimizer.state_dict()["state"].items() for k, v in of.items()}
        parts = {"parameters": trainable(model), "optimizer": moments}
        if self._moving is not None:
            parts["reference"] = self._moving.parts()
        for name, split in parts.items():  # one after the other: process 0 has all of it in its main memory
            found = team.collected(split)
            if team.rank() == 0:
                save_file(found, work / f"{name}.safetensors")
            del found
        if team.rank():
            return
        (work / "standing.json").write_text(json.dumps(asdict(standing)), encoding="utf-8")
        for path in work.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        work.rename(self._folder / work.name[1 : -len(".partial")])
        for old in self._complete()[:-KEPT]:
            shutil.rmtree(old)

    def restore(self, model: "PreTrainedModel", optimizer: torch.optim.Optimizer) -> Standing:
        """Put the latest snapshot into `model` and `optimizer`; the beginning, and nothing changed, where there is none."""
        from safetensors.torch import load_file

        folder = team.first(next(reversed(self._complete()), None))
        if folder is None:
            return Standing()
        stored = json.loads((folder / "standing.json").read_text(encoding="utf-8"))
        parameters = load_file(folder / "parameters.safetensors")
        kept = list(trainable(model).items())
        with torch.no_grad():
            for name, p in kept:
                p.copy_(team.split_like(parameters[name], p))
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in load_file(folder / "optimizer.safetensors").items():
            index, _, kind = name.partition(".")
            p = kept[int(index)][1]
            moments.setdefault(int(index), {})[kind] = team.split_like(value, p) if value.shape == p.shape else value
        if self._moving is not None:
            self._moving.restore(load_file(folder / "reference.safetensors"))
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        return Standing(**(stored | {"state": State(**stored["state"])}))

    def _complete(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"))
