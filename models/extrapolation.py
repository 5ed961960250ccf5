"""A checkpoint beyond another: the way from an older to a newer model, carried on (momentum between rounds)."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.errors import PlumblineError
from models.weights import save_weights

if TYPE_CHECKING:
    from torch import Tensor

Weights = Mapping[str, "Tensor"]


def write_extrapolation(newer: Path, older: Path, amount: float, out: Path) -> list[dict[str, Any]]:
    """`newer` + `amount` (`newer` - `older`) as a checkpoint in `out`, with all of `newer`'s other files as they are.

    Returns a row of records.EXTRAPOLATIONS per tensor. Raises PlumblineError as `extrapolate` does.
    """
    new = _weights(newer)
    beyond = extrapolate(new, _weights(older), amount)
    out.mkdir(parents=True)
    for file in sorted(newer.iterdir()):
        if file.is_file() and file.suffix != ".safetensors" and not file.name.endswith(".safetensors.index.json"):
            shutil.copyfile(file, out / file.name)
    save_weights({name: tensor.contiguous() for name, tensor in beyond.items()}, out / "model.safetensors")
    rows = []
    for name, tensor in beyond.items():
        step, size = (tensor.double() - new[name].double()).norm().item(), new[name].double().norm().item()
        rows.append({"tensor": name, "step": step / size if size else step})
    return rows


def extrapolate(policy: Weights, previous: Weights, momentum: float) -> "dict[str, Tensor]":
    """policy + momentum (policy - previous): accelerated preference optimisation's step between rounds (arXiv 2410.06293).

    `policy` and `previous` are what this round's and the last round's training gave, before any extrapolation; the result is the
    next round's start and reference. In probabilities it is policy * (policy / previous)^momentum, to first order. Reconstructed:
    the paper's own momentum could not be verified.

    Computed in at least float32 and rounded once to each tensor's own type; tensors of other numbers are the newer model's. Merge
    adapters into their base first: products of factors do not add up.

    Raises PlumblineError for a negative momentum, for models that differ in their tensors' names or shapes, and if a weight
    overflows.
    """
    if not momentum >= 0:
        raise PlumblineError(f"momentum between rounds must be 0 or more, not {momentum}")
    differing = sorted(policy.keys() ^ previous.keys()) or sorted(k for k in policy if policy[k].shape != previous[k].shape)
    if differing:
        shapes = " and ".join(str(tuple(m[differing[0]].shape)) if differing[0] in m else "missing" for m in (policy, previous))
        raise PlumblineError(
            f"the two models differ in {len(differing)} tensors (first {differing[0]}: {shapes}): "
            "combine checkpoints of one architecture"
        )
    beyond = {}
    for name, tensor in policy.items():
        if not tensor.is_floating_point():
            beyond[name] = tensor.clone()
            continue
        new, old = ((x.float() if x.dtype.itemsize < 4 else x) for x in (tensor, previous[name]))
        beyond[name] = (new + momentum * (new - old)).to(tensor.dtype)
        if not beyond[name].isfinite().all():
            raise PlumblineError(f"the combined weights of {name} are not finite: check both checkpoints, or lower the momentum")
    return beyond


def _weights(folder: Path) -> "dict[str, Tensor]":
    from safetensors.torch import load_file

    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    if not found:
        raise PlumblineError(f"{folder} holds no safetensors weights to extrapolate from")
    return found
