"""One of two processes of tests/models/test_training_team.py: `python -m tests.models.team_member FOLDER RANK`."""

import contextlib
import json
import os
import pickle
import sys
import weakref
from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode

from models.checkpoint import load_model
from models.objectives.batch import State
from models.training import jobs, snapshots, team
from models.training.gradient import accumulate
from models.training.jobs import align, fresh_accelerator
from models.training.logps import tree_logps
from models.training.methods import trainable
from models.training.progress import silent


def gradients(folder: Path, given, objectives, way: str) -> None:
    model, accelerator = load_model(folder / "tiny", torch.float32).eval(), fresh_accelerator("float32")
    if way == "ddp":
        team.replicate(model)
    else:
        team.shard(model, accelerator.device, "float32")
    for name, (objective, indices, tokens) in objectives.items():
        for p in model.parameters():
            p.grad = None
        losses, logps, figures, state = accumulate(model, given, indices, objective, State(), tokens, accelerator)
        found = {k: team.whole(p.grad).clone() for k, p in trainable(model).items()}
        found |= {"losses": losses, "logps": logps, "figures": torch.tensor([*figures.values(), state.mean, state.variance])}
        if team.rank() == 0:
            save_file({k: v.contiguous() for k, v in found.items()}, folder / f"{way}-{name}.safetensors")


class Copies(TorchDispatchMode):
    """What was made in bfloat16 of matrices in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[weakref.ref] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and out.dim() == 2 and out.dtype == torch.bfloat16:
            self.made.append(weakref.ref(out))
        return out


def kept(folder: Path, given, dtype: str) -> int:
    """How many of the layers' last matrices are whole between forward and backward pass, in autocast's precision."""
    model, accelerator = load_model(folder / "tiny", torch.float32).eval(), fresh_accelerator("bfloat16")
    shape = model.base_model.layers[0].mlp.down_proj.weight.shape  # no activation has it
    team.shard(model, accelerator.device, dtype)
    with Copies() as copies, accelerator.autocast():
        found = tree_logps(model, given.examples[:1])
        assert found.total.requires_grad
        alive = [copy() for copy in copies.made]
        return sum(copy is not None and copy.shape == shape for copy in alive)


class Stop(Exception):
    pass


def main(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    team.join(init_method=f"file://{folder}/store", rank=rank, world_size=2)
    given, objectives = pickle.loads((folder / "given.pickle").read_bytes())
    for way in ("ddp", "fsdp2"):
        gradients(folder, given, objectives, way)
    found = {dtype: kept(folder, given, dtype) for dtype in ("float32", "bfloat16")}
    if rank == 0:
        (folder / "kept.json").write_text(json.dumps(found))
    snapshots.EVERY = snapshots.SHARE = 0.0

    def stop(done: int, *_: object) -> None:
        if done == 3:
            raise Stop

    loads = Counter[str]()

    def counted(path: Path, dtype: torch.dtype):
        loads[name] += 1
        return load_model(path, dtype)

    jobs.load_model = counted
    name = "rank"
    jobs.rank(json.loads((folder / "jobs.json").read_text())["ddp"], silent)
    for name, job in json.loads((folder / "jobs.json").read_text()).items():
        if name == "fsdp2-lora":  # as accelerate launch says it
            os.environ["ACCELERATE_USE_FSDP"] = "true"
        if name.endswith("cut"):
            with contextlib.suppress(Stop):
                align(job, stop)
        steps = align(job, silent)["steps"]
        if rank == 0:
            (folder / f"{name}.json").write_text(json.dumps(steps))
    (folder / f"loads-{rank}.json").write_text(json.dumps(loads))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
