"""What the tests of objectives on pairs share: the reference example, and losses with their gradients."""

import math
from dataclasses import replace

import torch

from models.objectives import REGISTRY
from models.objectives.batch import Answers, State
from models.objectives.catalogue import default_config, full_batch
from models.objectives.list_registry import LISTS

torch.set_num_threads(1)

PI, REF, LENGTHS = (-12.0, -15.0), (-13.0, -14.5), (20, 25)
PAIR_NAMES = [name for name in REGISTRY if name not in LISTS]


def make(name, **parameters):
    """The objective with its config's defaults but for `parameters`, which the config need not allow."""
    return REGISTRY[name](**(default_config(name).parameters() | parameters))


def sp(x):
    """log(1 + e^x)"""
    return math.log1p(math.exp(x))


def batch(pi=(PI,), ref=(REF,), dtype=torch.float64, **fields):
    """One row per pair; `fields` as nested lists replace those of `full_batch`."""
    logp, ref = torch.tensor(pi, dtype=dtype), torch.tensor(ref, dtype=dtype)
    b = full_batch(logp.requires_grad_(), ref, LENGTHS)
    tensors = {k: v if isinstance(v, dict) or v is None else torch.as_tensor(v, dtype=dtype) for k, v in fields.items()}
    if "aux" in tensors:
        tensors["aux"] = dict(b.aux) | tensors["aux"]
    return replace(b, **tensors)


def single(logp, ref=0.0, length=1, dtype=torch.float64):
    """Further answers, one a prompt."""
    column = [torch.tensor([[x] for x in xs], dtype=dtype) for xs in (logp, [ref] * len(logp), [length] * len(logp))]
    return Answers(column[0].requires_grad_(), *column[1:])


def loss_and_gradient(objective, b, state=None):
    """Losses [B] and the gradient of their sum by log-probabilities [B, 2]."""
    loss, _, _ = objective(b, state or State())
    (gradient,) = torch.autograd.grad(loss.sum(), b.logp, retain_graph=True)
    return loss.detach(), gradient


def random_pairs(count=6, seed=0, scale=4.0):
    torch.manual_seed(seed)
    pi, ref = (torch.randn(count, 2, dtype=torch.float64) * scale - 25 for _ in range(2))
    return pi.tolist(), ref.tolist()
