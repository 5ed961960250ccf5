"""Every objective that CLAIR pairs can serve, one round each from the same pairs, several seeds, with its own defaults.

    make demo && .venv/bin/python -m benchmarks.objectives [--run runs/demo] [--seeds 0 1 2] [--only dpo simpo]

Everything but the objective is as in configs/demo.yaml (learning rate 5e-4, 4 epochs, batch 32): nothing is tuned per
objective, so the order says how far the defaults carry on this world, not which objective is best. Finished trainings are
kept in runs/objectives and not repeated. Writes benchmarks/objectives/results.json and results.md. About 12 s a training.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from data_contracts.config import RoundsConfig
from data_contracts.config_align import AlignConfig
from data_contracts.errors import PlumblineError
from data_contracts.load_config import load_config
from data_contracts.objective_config import CONFIGS
from data_contracts.store import Dataset, open_dataset
from models.checkpoint import open_checkpoint
from models.engine import Engine
from models.objectives import REGISTRY, check
from models.objectives.serving import PAIRS
from models.training.process import Trainer
from tasks.align import align
from tasks.evaluate import evaluate

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), help="a finished run whose round 1 gives the pairs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=sorted(REGISTRY))
    given = parser.parse_args()
    config = load_config(given.run / "config.yaml")
    assert isinstance(config, RoundsConfig)
    pairs, start = open_dataset(given.run / "round-1" / "validate_pairs"), open_dataset(given.run / "round-0" / "evaluate")
    policy, results = open_checkpoint(config.policy), []
    out = given.run.parent / "objectives"
    trainer = Trainer(out / "trainer.log")
    trainer.warm()
    engine = Engine(policy, config.engine)
    served = [name for name in given.only if _served(name)]
    for place, name in enumerate(served, 1):
        runs: list[dict[str, Any]] = []
        for seed in given.seeds:
            settings = AlignConfig.model_validate(config.align.model_dump() | {"objective": {"name": name}})
            folder = out / name / f"seed-{seed}"
            try:
                steps = align(folder / "align", pairs, settings, policy, policy, seed, trainer)
            except PlumblineError as error:
                runs.append({"seed": seed, "error": str(error)})
                continue
            answers = evaluate(folder / "evaluate", config.evaluate, open_checkpoint(steps.folder / "model"), engine)
            runs.append(_row(seed, steps, answers, start))
        results.append({"objective": name, "defaults": CONFIGS[name](name=name).model_dump(exclude={"name"}), "runs": runs})
        print(f"{place}/{len(served)} {name}: {[round(r['score'], 3) if 'score' in r else r['error'] for r in runs]}", flush=True)
        (HERE / "results.json").write_text(json.dumps({"start": _score(start), "objectives": results}, indent=1) + "\n")
    (HERE / "results.md").write_text(_table(results, start))
    engine.close()
    trainer.close()


def _served(name: str) -> bool:
    try:
        check(REGISTRY[name], PAIRS)
    except PlumblineError:
        return False
    return True


def _score(answers: Dataset) -> dict[str, float]:
    return {key: answers.facts["metrics"]["overall"][key] for key in ("mean", "low", "high")}


def _row(seed: int, steps: Dataset, answers: Dataset, start: Dataset) -> dict[str, Any]:
    score = _score(answers)
    return {
        "seed": seed,
        "score": score["mean"],
        "low": score["low"],
        "high": score["high"],
        "chosen_logratio": steps.facts["final_chosen_logratio"],
        "rejected_logratio": steps.facts["final_rejected_logratio"],
        "length_change": answers.facts["mean_tokens"] - start.facts["mean_tokens"],
        "seconds": steps.facts["seconds"],
    }


def _table(results: list[dict[str, Any]], start: Dataset) -> str:
    begin = _score(start)
    lines = [
        "# One round with every objective that CLAIR pairs serve",
        "",
        f"`python -m benchmarks.objectives`. Start: {begin['mean']:.3f} ({begin['low']:.3f}–{begin['high']:.3f}).",
        "Means over the seeds, in brackets the lowest and highest seed; one seed's 95 % interval is about ±0.02 near 0.9 and",
        "±0.033 near 0.5. Log-ratios to the reference in nats over the last tenth of the steps; length in tokens. Every",
        "objective has its own defaults and the demo's learning rate: nothing is tuned.",
        "",
        "| objective | score | chosen log-ratio | rejected log-ratio | length change | training seconds |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    done = [(r["objective"], [x for x in r["runs"] if "score" in x], r["runs"]) for r in results]
    for name, runs, every in sorted(done, key=lambda item: -statistics.mean(r["score"] for r in item[1]) if item[1] else 1):
        if not runs:
            lines.append(f"| {name} | refused: {every[0]['error']} | | | | |")
            continue
        mean = {key: statistics.mean(r[key] for r in runs) for key in runs[0]}
        scores = [r["score"] for r in runs]
        lines.append(
            f"| {name} | {mean['score']:.3f} ({min(scores):.3f}–{max(scores):.3f}) | {mean['chosen_logratio']:+.2f} "
            f"| {mean['rejected_logratio']:+.2f} | {mean['length_change']:+.2f} | {mean['seconds']:.1f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
