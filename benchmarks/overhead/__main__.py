"""What Prefect, MLflow and manifests cost: `python -m benchmarks.overhead [--prompts 1000] [--turns 3] [--wider 4] [--out DIR]`.

Four rounds of configs/demo.yaml on the embedded models, once as `plumbline run` does them and once as bare calls of the same
stages (bare.py), in turn, each in a process of its own with its own Prefect server and MLflow database. About 5 minutes a turn on
two cores; run it alone. Two figures come out:

- *a round*: the mean of the rounds after the first, which bear what every further round bears (tasks, artifacts, manifests, and
  MLflow being told about the round before it), beside the bare ones, in seconds and as a share;
- *fixed*: everything else that the whole command takes longer, the report aside, which is no orchestration: starting and stopping
  the server, importing Prefect and MLflow, making their databases, the last words to MLflow.

The embedded models make this the hardest case: a round of a real model takes a hundred times as long. `--wider 4` is on the way
there: the same models with sixteen times the arithmetic (wider.py).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.overhead.run import ROUNDS

ROOT = Path(__file__).parents[2]
SIDES = ("bare", "plumbline")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--wider", type=int, default=1, help="embedded models so many times as wide, which say the same")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    measured: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        models = wider_models(Path(folder), given.wider) if given.wider > 1 else []
        for turn in range(given.turns):
            for side in SIDES if turn % 2 == 0 else reversed(SIDES):
                measured.append({"side": side, "load": os.getloadavg()[0], **measure(side, given.prompts, models)})
                print(json.dumps(measured[-1]), flush=True)
    what = {"prompts": given.prompts, "wider": given.wider, "cores": os.cpu_count()}
    found = {**what, **conclude(measured), "runs": measured}
    name = f"results_{given.wider}_times_as_wide.json" if models else "results.json"
    (given.out / name).write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps({k: v for k, v in found.items() if k != "runs"}, indent=2))


def wider_models(folder: Path, times: int) -> list[str]:
    """Student and teacher, `times` as wide, in `folder`, as `--set` names them."""
    from benchmarks.overhead.wider import widen

    places = {"policy": "student", "teacher.model": "teacher"}
    return [f"{key}={widen(ROOT / 'models' / 'embedded' / name, folder / name, times)}" for key, name in places.items()]


def measure(side: str, prompts: int, models: list[str]) -> dict[str, Any]:
    """One run in a process of its own, and how long that lived."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.overhead.run", side, str(prompts), folder, *models]
        done = subprocess.run(command, cwd=ROOT, env=kept | {"HOME": folder}, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{side} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        found: dict[str, Any] = json.loads((Path(folder) / "marks.json").read_text())
        return found


def conclude(measured: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the turns. Raises SystemExit if the two sides did not do the same work."""
    if len({json.dumps(run["decisions"]) for run in measured}) > 1:
        raise SystemExit("the runs decided differently, so they did not do the same work")
    seconds = {
        side: {key: median(run[key] for run in measured if run["side"] == side) for key in ("round", "whole", "report")}
        for side in SIDES
    }
    bare, full = seconds["bare"], seconds["plumbline"]
    added = full["round"] - bare["round"]
    pairs = zip(*([m["round"] for m in measured if m["side"] == side] for side in SIDES), strict=True)
    return {
        "a round, bare, seconds": round(bare["round"], 2),
        "a round, added, seconds": round(added, 2),
        "a round, added, share": round(added / bare["round"], 4),
        "a round, added, seconds, turn by turn": [round(with_ - without, 2) for without, with_ in pairs],
        "fixed, seconds": round(full["whole"] - full["report"] - bare["whole"] - ROUNDS * added, 2),
    }


if __name__ == "__main__":
    main()
