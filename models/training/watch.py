"""What is watched while training runs: held-out pairs, a loss that does not move, and how much of the machine is used."""

import re
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator

from data_contracts.config_align import EarlyStopConfig
from data_contracts.store import Rows, replacing
from models.training import team
from models.training.data import Example
from models.training.gradient import Given
from models.training.logps import all_logps
from models.training.methods import trainable, trained_weights
from models.training.progress import STUCK, is_stuck
from models.training.reference import MICRO_BATCH

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# dense bfloat16 operations a second, from NVIDIA's data sheets
PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10": 125e12, "4090": 165e12}


@dataclass(frozen=True)
class HeldOut:
    """Pairs that are not trained on. Training stops when their ranking accuracy, the share with a positive margin, has not grown
    for `config.patience` checks; the weights of the best check, the first of equals, are kept in `folder` and win."""

    given: Given
    indices: list[int]
    config: EarlyStopConfig
    folder: Path
    accelerator: Accelerator

    def check(self, step: int, steps: int, model: "PreTrainedModel", rows: Rows) -> float | None:
        """The accuracy after step `step` (from 1), every so many steps and after the last; None in between."""
        if step % self.config.every and step != steps:
            return None
        with self.accelerator.autocast():
            logps = all_logps(model, [self.given.examples[i] for i in self.indices], MICRO_BATCH)
        ratio = logps - self.given.ref[self.indices]
        margin = ratio[:, 0] - ratio[:, 1]
        accuracy = ((margin > 0) + 0.5 * (margin == 0)).double().mean().item()
        if all(accuracy > row["held_out_accuracy"] for row in self._checks(rows)):
            self._keep(model)
        return accuracy

    def enough(self, rows: Rows) -> bool:
        """Whether the last `patience` checks were all no better than the best before them."""
        found = [row["held_out_accuracy"] for row in self._checks(rows)]
        return len(found) - 1 - found.index(max(found)) >= self.config.patience if found else False

    def best(self, model: "PreTrainedModel", rows: Rows) -> int:
        """Put the best check's weights into `model`; its step."""
        from safetensors.torch import load_file

        found = self._checks(rows)
        step = max(found, key=lambda row: (row["held_out_accuracy"], -row["step"]))["step"]
        if step != rows[-1]["step"]:
            kept = load_file(self.folder / "best.safetensors")
            with torch.no_grad():
                for name, p in trainable(model).items():
                    p.copy_(team.split_like(kept[name], p))
        return int(step)

    def _keep(self, model: "PreTrainedModel") -> None:
        from safetensors.torch import save_file

        weights = trained_weights(model)
        if team.rank() == 0:
            with replacing(self.folder / "best.safetensors") as partial:
                save_file(weights, partial)

    @staticmethod
    def _checks(rows: Rows) -> Rows:
        return [row for row in rows if row["held_out_accuracy"] is not None]


def alarm(rows: Rows) -> str | None:
    """A sentence if the training is stuck."""
    if len(rows) >= STUCK and is_stuck([row["loss"] for row in (rows[0], *rows[-STUCK:])]):
        where = f"the loss has sat at {rows[0]['loss']:.4g}, where it began, for {STUCK} steps"
        return f"{where}, so nothing is learnt: raise align.learning_rate, or look at the data"
    return None


def peak_memory(device: torch.device) -> float:
    """MB: allocated on the GPU, or resident in this process, at the highest so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def operations(model: "PreTrainedModel", examples: Sequence[Example]) -> float:
    """Floating-point operations of one step on `examples`, shared tokens counted once. Attention is not counted.

    Two a weight and token in the forward pass, two for the gradient of activations, and two for that of trained weights.
    """
    head = model.get_output_embeddings()
    linear = [m.weight for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    tree = sum(e.tree_tokens for e in examples)
    scored = tree - sum(len(e.prompt) for e in examples)

    def of(weight: torch.Tensor, tokens: int) -> float:
        return (6 if weight.requires_grad else 4) * weight.numel() * tokens

    return sum(of(w, tree) for w in linear) + of(head.weight, scored)


def utilisation(operations: float, seconds: float, device: torch.device) -> float | None:
    """Share of the GPU's peak in bfloat16 (MFU); None on a CPU, and on a GPU whose peak is not known here."""
    if device.type != "cuda":
        return None
    words = re.findall("[A-Za-z0-9]+", torch.cuda.get_device_name(device))
    peak = next((PEAK[word] for word in words if word in PEAK), None)
    return None if peak is None else operations / seconds / peak / team.size()
