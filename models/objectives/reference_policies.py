"""Arithmetic on the weights of checkpoints: references that follow the policy, and momentum between rounds.

State dicts in, a new state dict out; computed in at least float32 and rounded once to each tensor's own type. Tensors of
other numbers are the newer model's. Merge adapters into their base first: products of factors do not add up.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from data_contracts.errors import PlumblineError

if TYPE_CHECKING:
    from torch import Tensor

Weights = Mapping[str, "Tensor"]


def follow(reference: Weights, policy: Weights, rate: float) -> "dict[str, Tensor]":
    """rate policy + (1 - rate) reference, the soft update of trust-region DPO (TR-DPO, arXiv 2404.09656); rate 1 is the hard one.

    The paper uses rate 0.6, or a hard update every 512 steps. Raises PlumblineError for a rate outside 0..1 and for models that
    differ in their tensors' names or shapes.
    """
    if not 0 <= rate <= 1:
        raise PlumblineError(f"a reference that follows the policy takes a rate from 0 to 1, not {rate}")
    return _combine(policy, reference, lambda new, old: old + rate * (new - old) if rate < 1 else new)


def extrapolate(policy: Weights, previous: Weights, momentum: float) -> "dict[str, Tensor]":
    """policy + momentum (policy - previous): accelerated preference optimisation's step between rounds (arXiv 2410.06293).

    `policy` and `previous` are what this round's and the last round's training gave, before any extrapolation; the result is the
    next round's start and reference. In probabilities it is policy * (policy / previous)^momentum, to first order. Reconstructed:
    the paper's own momentum could not be verified.

    Raises PlumblineError for a negative momentum, for models that differ in their tensors' names or shapes, and if a weight
    overflows.
    """
    if not momentum >= 0:
        raise PlumblineError(f"momentum between rounds must be 0 or more, not {momentum}")
    return _combine(policy, previous, lambda new, old: new + momentum * (new - old))


def _combine(new: Weights, old: Weights, step: "Callable[[Tensor, Tensor], Tensor]") -> "dict[str, Tensor]":
    differing = sorted(new.keys() ^ old.keys()) or sorted(k for k in new if new[k].shape != old[k].shape)
    if differing:
        shapes = " and ".join(str(tuple(m[differing[0]].shape)) if differing[0] in m else "missing" for m in (new, old))
        raise PlumblineError(
            f"the two models differ in {len(differing)} tensors (first {differing[0]}: {shapes}): "
            "combine checkpoints of one architecture"
        )
    combined = {}
    for name, tensor in new.items():
        result = tensor
        if tensor.is_floating_point():
            wide, other = ((x.float() if x.dtype.itemsize < 4 else x) for x in (tensor, old[name]))
            result = step(wide, other).to(tensor.dtype)
            if not result.isfinite().all():
                raise PlumblineError(
                    f"the combined weights of {name} are not finite: check both checkpoints, or lower the momentum"
                )
        combined[name] = result.clone() if result is tensor else result
    return combined
