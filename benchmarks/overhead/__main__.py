"""What Prefect, MLflow and manifests cost: `python -m benchmarks.overhead [--prompts 1000] [--rounds 24] [--wider 3]`.

configs/demo.yaml on the embedded models, as `plumbline run` does it and as bare calls of the same stages (bare.py). Run it alone;
about half a minute a round on two cores, and three minutes. Two figures come out:

- *a round*: in one process each round is done twice, first with everything and then bare, by the same engine and trainer, so that
  the machine's changes of speed meet both. The median over the rounds after the first, with its 95 % interval from the order of
  the differences (no assumption but that rounds are alike). A round bears what every further round bears: tasks, artifacts,
  manifests, and MLflow being told about the round before it. What the server does at rest, 2 % of a processor, both bear.
- *fixed*: what one round's whole command takes longer in a process of its own, less that round's share; the report aside, which
  is no orchestration: starting and stopping the server, importing Prefect and MLflow, making their databases, the last words to
  MLflow. The median of three.

The embedded models make this the hardest case: a round of a real model takes a hundred times as long. `--wider 3` is on the way
there: the same models with nine times the arithmetic (wider.py).
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

from scipy.stats import binom

ROOT = Path(__file__).parents[2]
TURNS = 3  # of whole commands


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--wider", type=int, default=1, help="embedded models so many times as wide, which say the same")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = wider_models(Path(folder), given.wider) if given.wider > 1 else []
        rounds = measure("in_turn", given.rounds + 1, given.prompts, models)
        found = compare(rounds["rounds"][1:], rounds["bare rounds"][1:])
        if not models:
            sides = ("bare", "plumbline") * TURNS
            wholes = [{"side": side, **measure(side, 1, given.prompts, models)} for side in sides]
            found |= {"fixed, seconds": fixed(wholes, found["a round, added, seconds"])}
    what = {"prompts": given.prompts, "wider": given.wider, "cores": os.cpu_count()}
    name = f"results_{given.wider}_times_as_wide.json" if models else "results.json"
    pairs = {"with everything": rounds["rounds"][1:], "bare": rounds["bare rounds"][1:]}
    kept = {side: [round(s, 2) for s in seconds] for side, seconds in pairs.items()}
    (given.out / name).write_text(json.dumps({**what, **found, "rounds": kept}, indent=2) + "\n")
    print(json.dumps({**what, **found}, indent=2))


def wider_models(folder: Path, times: int) -> list[str]:
    """Student and teacher, `times` as wide, in `folder`, as `--set` names them."""
    from benchmarks.overhead.wider import widen

    places = {"policy": "student", "teacher.model": "teacher"}
    return [f"{key}={widen(ROOT / 'models' / 'embedded' / name, folder / name, times)}" for key, name in places.items()]


def measure(side: str, rounds: int, prompts: int, models: list[str]) -> dict[str, Any]:
    """One process with databases of its own; its lines about rounds are shown as they come."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.overhead.run", side, str(rounds), str(prompts), folder, *models]
        lines: list[str] = []
        with subprocess.Popen(
            command, cwd=ROOT, env=kept | {"HOME": folder}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            for line in process.stdout or ():
                lines.append(line)
                if line.startswith('{"round"'):
                    print(line, end="", flush=True)
        if process.returncode:
            raise SystemExit(f"{side} failed:\n{''.join(lines)[-4000:]}")
        found: dict[str, Any] = json.loads((Path(folder) / "marks.json").read_text())
        return found


def compare(full: list[float], bare: list[float]) -> dict[str, Any]:
    """What a round costs more, by pairs of the same round; seconds."""
    added = sorted(with_ - without for with_, without in zip(full, bare, strict=True))
    outside = int(binom.ppf(0.025, len(added), 0.5))  # as many differences lie below the median's 95 % interval
    low, high = (added[outside - 1], added[-outside]) if outside else (float("-inf"), float("inf"))
    usual = median(bare)
    return {
        "a round, bare, seconds": round(usual, 2),
        "a round, added, seconds": round(median(added), 2),
        "a round, added, seconds, 95 % interval": [round(low, 2), round(high, 2)],
        "a round, added, share": round(median(added) / usual, 4),
    }


def fixed(wholes: list[dict[str, Any]], added: float) -> float:
    """Raises SystemExit if the two sides did not do the same work."""
    if len({json.dumps(whole["decisions"]) for whole in wholes}) > 1:
        raise SystemExit("the runs decided differently, so they did not do the same work")
    seconds = {s: median(w["whole"] - sum(w["report"]) for w in wholes if w["side"] == s) for s in ("bare", "plumbline")}
    return round(seconds["plumbline"] - seconds["bare"] - added, 2)


if __name__ == "__main__":
    main()
