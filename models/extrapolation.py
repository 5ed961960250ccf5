"""A checkpoint beyond another: the way from an older to a newer model, carried on."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.errors import PlumblineError
from models.objectives.reference_policies import extrapolate

if TYPE_CHECKING:
    from torch import Tensor


def write_extrapolation(newer: Path, older: Path, amount: float, out: Path) -> list[dict[str, Any]]:
    """`newer` + `amount` (`newer` - `older`) as a checkpoint in `out`, with all of `newer`'s other files as they are.

    Returns a row of records.EXTRAPOLATIONS per tensor. Raises PlumblineError for two architectures and for weights that overflow.
    """
    from safetensors.torch import save_file

    new, old = _weights(newer), _weights(older)
    beyond = extrapolate(new, old, amount)
    out.mkdir(parents=True)
    for file in sorted(newer.iterdir()):
        if file.is_file() and file.suffix != ".safetensors" and not file.name.endswith(".safetensors.index.json"):
            shutil.copyfile(file, out / file.name)
    save_file({name: tensor.contiguous() for name, tensor in beyond.items()}, out / "model.safetensors", {"format": "pt"})
    rows = []
    for name, tensor in beyond.items():
        step, size = (tensor.double() - new[name].double()).norm().item(), new[name].double().norm().item()
        rows.append({"tensor": name, "step": step / size if size else step})
    return rows


def _weights(folder: Path) -> "dict[str, Tensor]":
    from safetensors.torch import load_file

    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    if not found:
        raise PlumblineError(f"{folder} holds no safetensors weights to extrapolate from")
    return found
