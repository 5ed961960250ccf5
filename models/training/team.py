"""Several processes that train one model together: DDP, or FSDP2 where the weights are split too. One process is a team of one.

Each process takes its share of every batch; sums over the team make what all of them see: losses, log-probabilities, figures.
The model's own forward runs behind one door, a module that DDP or FSDP2 wraps, and all processes go through it equally often, so
that nobody waits for a pass that never comes.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from data_contracts.errors import PlumblineError
from models.training.data import Example, micro_batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel

T = TypeVar("T")


def size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def join(**place: Any) -> None:
    """Enter the team that the launcher's environment describes, or the one at `place` (init_process_group's own arguments).

    Raises PlumblineError where accelerate was to start several processes without a GPU, and started one, and where a machine has
    more processes than GPUs.
    """
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true" and "MASTER_PORT" in os.environ and "RANK" not in os.environ:
        raise PlumblineError(
            "accelerate launch starts one process only when told to use the CPU, however many were asked for: "
            "use torchrun --nproc-per-node N, or leave --cpu out"
        )
    # accelerate's default for FSDP, by which transformers would load no weights but in each node's first process
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    if dist.is_initialized() or not (place or int(os.environ.get("WORLD_SIZE", "1")) > 1):
        return
    gpu = torch.cuda.is_available()
    if gpu:
        mine, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if mine >= there:
            raise PlumblineError(f"{mine + 1} processes or more share this machine, and {there} GPUs: start one a GPU")
        torch.cuda.set_device(mine)
    # a rank that dies ends the others; until then the slowest may take its time
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=timedelta(days=1), **place)


def total(values: Tensor) -> Tensor:
    """The sum of what all processes hold."""
    if size() > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values


def first(value: T) -> T:
    """What process 0 holds: a decision that all must take alike."""
    if size() == 1:
        return value
    said = [value]
    dist.broadcast_object_list(said, 0, device=torch.device("cpu"))
    return said[0]


def wants_shards(configured: bool) -> bool:
    """By the configuration, or because `accelerate launch` was given an FSDP configuration."""
    return configured or os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def share(examples: Sequence[Example], indices: Sequence[int], tokens: int) -> tuple[list[list[int]], int]:
    """The micro batches of this process, and how many of them count.

    The largest example goes to whoever has least so far. All processes get equally many micro batches: one that has fewer of its
    own is given the smallest example again, which does not count.
    """
    if size() == 1:
        parts = micro_batches(examples, indices, tokens)
        return parts, len(parts)
    loads, held = [0] * size(), [list[int]() for _ in range(size())]
    for i in sorted(indices, key=lambda i: (-examples[i].tree_tokens, i)):
        least = loads.index(min(loads))
        loads[least] += examples[i].tree_tokens
        held[least].append(i)
    dealt = [micro_batches(examples, mine, tokens) for mine in held]
    own = dealt[rank()]
    smallest = min(indices, key=lambda i: (examples[i].tree_tokens, i))
    return own + [[smallest]] * (max(map(len, dealt)) - len(own)), len(own)


class Door(nn.Module):
    """`tree_logps`, or `mean_states` of the prompts, as a module's forward: what DDP and FSDP2 can wrap."""

    def __init__(self, model: "PreTrainedModel") -> None:
        super().__init__()
        self.model = model

    def forward(self, examples: Sequence[Example], overlap: bool = False, prompts: bool = False) -> tuple[Tensor | None, ...]:
        from models.training.logps import mean_states, run

        if prompts:
            return (mean_states(self.model, examples),)
        found = run(self.model, examples, overlap)
        # a tuple: FSDP2 looks into no dataclass; and no views, whose later change would escape it
        return found.total.clone(), found.token.clone(), found.mask, found.overlap


def door(model: "PreTrainedModel") -> nn.Module | None:
    return model.__dict__.get("door")


def shard(model: "PreTrainedModel", device: torch.device, dtype: str, reference: bool = False) -> None:
    """FSDP2: every process keeps its part of weights, gradients and moments, and layers are whole only while they run.

    With `dtype` bfloat16 layers are gathered in it: if autocast turned their weights into it one by one, the backward pass would
    need each copy, so that all layers would be whole after all. Gradients are summed over the team in float32.
    The outermost weights, once gathered, stay whole until a backward pass; a `reference` has none, and may move.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    from models.training.attention import decoder

    mesh = init_device_mesh(device.type, (size(),))
    lower = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    for layer in decoder(model).layers:
        fully_shard(layer, mesh=mesh, mp_policy=lower if dtype == "bfloat16" else MixedPrecisionPolicy())
    model.__dict__["door"] = fully_shard(Door(model), mesh=mesh, reshard_after_forward=True if reference else None)


def fill(model: "PreTrainedModel", device: torch.device, whole: "PreTrainedModel | None") -> None:
    """Give `model`, which is empty and may be split, the weights and buffers of the `whole` one that process 0 has.

    One tensor after the other is sent to all, and each process keeps its part. Buffers too, since not all are in a checkpoint.
    Raises PlumblineError where the two do not have the same tensors.
    """
    if model is not whole:
        model.to_empty(device=device)
        model.tie_weights()  # which the above has untied
    kept = dict(model.named_parameters()) | dict(model.named_buffers())
    given = {} if whole is None else dict(whole.named_parameters()) | dict(whole.named_buffers())
    if first({name: values.shape for name, values in given.items()}) != {name: values.shape for name, values in kept.items()}:
        raise PlumblineError(f"{type(model).__name__} cannot be trained by several processes: set align.processes to 1")
    with torch.no_grad():
        for name, values in kept.items():
            sent = given[name].to(device).contiguous() if given else torch.empty(values.shape, dtype=values.dtype, device=device)
            dist.broadcast(sent, 0)
            part(values).copy_(part(split_like(sent, values)))


def replicate(model: "PreTrainedModel") -> None:
    """DDP: every process keeps the whole model, and gradients are averaged in the last backward pass of a step."""
    from torch.nn.parallel import DistributedDataParallel

    model.__dict__["door"] = DistributedDataParallel(
        Door(model), broadcast_buffers=False, find_unused_parameters=True, gradient_as_bucket_view=True
    )


def quiet(model: "PreTrainedModel", last: bool) -> AbstractContextManager[None]:
    """DDP averages gradients in the last pass of a step and in no other."""
    wrapped = door(model)
    return nullcontext() if last or wrapped is None or not hasattr(wrapped, "no_sync") else wrapped.no_sync()


def whole(values: Tensor) -> Tensor:
    """A parameter or moment that may be split over the team, as one tensor. All processes must ask at once."""
    full = getattr(values, "full_tensor", None)
    return values if full is None else full()


def collected(split: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All of them whole, on the CPU of process 0, and nothing elsewhere. One at a time, so that no GPU ever holds them all; all
    processes must ask at once."""
    found = {}
    for name, values in split.items():
        full = whole(values.detach())
        if rank() == 0:
            found[name] = full.cpu().contiguous()
    return found


def part(values: Tensor) -> Tensor:
    """This process's part of a parameter that may be split over the team: a view, to be changed in place."""
    local = getattr(values, "to_local", None)
    return values if local is None else local()


def split_like(values: Tensor, kept: Tensor) -> Tensor:
    """This process's part of `values`, as `kept` is split; `values` itself if it is not."""
    if not hasattr(kept, "full_tensor"):
        return values
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(values.to(kept.device), kept.device_mesh, kept.placements, src_data_rank=None)
