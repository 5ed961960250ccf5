"""`build(out)` makes the embedded models from nothing; the shipped files are its result at scale 1, seed 0.

    plumbline embedded build        about 15 minutes on one quiet core

The work is in `stages.py`, in a process of its own: glibc and OpenMP read their settings once, at start.
"""

import os
import subprocess
import sys
from pathlib import Path

from models.training.process import ALLOCATOR

# idle threads sleep rather than spin on cores that others need
ENVIRONMENT = {**ALLOCATOR, "OMP_WAIT_POLICY": "PASSIVE"}


def build(out: Path, scale: float = 1.0, seed: int = 0) -> None:
    """Checkpoints, data files and card into `out`; a `scale` below 1 shortens everything, for trials and tests."""
    command = [sys.executable, "-m", "models.embedded.stages", str(out), str(scale), str(seed)]
    subprocess.run(command, env=os.environ | ENVIRONMENT, check=True)
