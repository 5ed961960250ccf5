"""Which GPUs there are, and who takes how much of them: engine, trainer, and a teacher's server beside them. Imports no torch."""

import os
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path

from data_contracts.config import EngineConfig
from data_contracts.config_align import AlignConfig
from data_contracts.config_teacher import TeacherConfig, VllmTeacher
from data_contracts.errors import PlumblineError

WEIGHTS = 0.8  # of what an engine takes of a GPU, at most: the rest is for activations and the cache of keys and values
FULL = 0.9  # of a GPU, for all who share it: the rest goes to their CUDA contexts and graphs


def visible() -> list[str]:
    """What this process may use, as CUDA_VISIBLE_DEVICES names it, else the numbers of all that the machine has.

    None with torch's CPU build, whatever there is.
    """
    if version("torch").endswith("+cpu"):
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return [str(n) for n in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
    names = list(takewhile(lambda name: name not in ("", "-1"), (name.strip() for name in named.split(","))))  # as CUDA reads it
    return names[:1] if names and names[0].startswith("MIG") else names  # of a GPU's instances a process gets one


def trainers(gpus: list[str], teacher: TeacherConfig | None) -> list[str]:
    """Those of `gpus` that the trainer takes: all but those named for a teacher's server, which goes on while it trains.

    Raises PlumblineError where the teacher's are not there, or one is the first, on which the engine runs.
    """
    named = teacher.gpus.split(",") if isinstance(teacher, VllmTeacher) and teacher.gpus else []
    if not gpus or not named:
        return gpus
    if lacking := [name for name in named if name not in gpus]:
        raise PlumblineError(
            f"teacher.gpus names GPU {lacking[0]}, but this process may use {', '.join(gpus)}: name some of these"
        )
    if gpus[0] in named:
        raise PlumblineError(
            f"teacher.gpus names GPU {gpus[0]}, on which the run's own engine works: name others, or leave teacher.gpus out, and "
            "the two share it"
        )
    return [name for name in gpus if name not in named]


def engines(config: EngineConfig, teacher: TeacherConfig) -> EngineConfig:
    """`config`, with no more of the GPU's memory than a teacher's server on the same GPU leaves.

    Raises PlumblineError where that is next to nothing.
    """
    if not visible() or not isinstance(teacher, VllmTeacher) or teacher.gpus:
        return config
    left = round(FULL - teacher.gpu_memory, 3)
    if left < 0.1:
        raise PlumblineError(
            f"teacher.gpu_memory {teacher.gpu_memory} leaves nothing of the GPU to the run's own engine: lower it, or give the "
            "teacher GPUs of its own in teacher.gpus"
        )
    return config.model_copy(update={"gpu_memory": min(config.gpu_memory, left)})


def settled(config: AlignConfig) -> AlignConfig:
    """`config` with what `dtype: auto` is on this machine, as in the engine: bfloat16 with a GPU to use, else float32."""
    if config.dtype != "auto":
        return config
    return config.model_copy(update={"dtype": "bfloat16" if visible() else "float32"})


def shards(weights: int, memory: float, heads: int, gpus: int) -> int:
    """Over how many GPUs a model of `weights` bytes is split, each of which gives `memory` bytes: no more than it takes, and a
    power of two that divides its attention heads. Where all do not suffice, as many as can be had; vLLM says how much is missing.
    """
    count = 1
    while weights > WEIGHTS * memory * count and 2 * count <= gpus and heads % (2 * count) == 0:
        count *= 2
    return count


def before_the_teachers(gpus: list[str], teacher: TeacherConfig | None) -> int:
    """How many of the first of `gpus` the engine may take."""
    left = trainers(gpus, teacher)
    return len(list(takewhile(lambda name: name in left, gpus)))
