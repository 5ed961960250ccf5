"""Run `plumbline` as a user would: the installed command, an own environment, nothing left behind."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLUMBLINE = Path(sys.executable).parent / "plumbline"
SMALL = [
    "--set",
    "prompts.per_round=240",
    "--set",
    "align.epochs=2",
    "--set",
    "align.learning_rate=1e-3",
    "--set",
    "validate.min_rows=16",
]


def environment(home: Path) -> dict[str, str]:
    """An empty home, this checkout's code, and a mark by which every process of this run can be found."""
    drop = ("PREFECT_API_URL", "PREFECT_HOME", "MLFLOW_TRACKING_URI", "PLUMBLINE_DATABASE")
    kept = {k: v for k, v in os.environ.items() if k not in drop and not k.startswith("PREFECT_")}
    home.mkdir(parents=True, exist_ok=True)
    return {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), "PLUMBLINE_TEST_MARK": str(home)}


def plumbline(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PLUMBLINE), *arguments], cwd=ROOT, env=environment(home), capture_output=True, text=True, timeout=900, check=False
    )


def left_running(home: Path) -> list[str]:
    """Command lines of processes started by a run with this home."""
    mark = f"PLUMBLINE_TEST_MARK={home}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # it has just ended, or is not ours to see
    return [line for line in found if line]
