"""Every objective, one round each on what the embedded world's data gives it, several seeds, with its own defaults.

    make demo && .venv/bin/python -m benchmarks.objectives [--run runs/demo] [--seeds 0 1 2] [--only dpo simpo]

Everything but the objective is as in configs/demo.yaml (learning rate 5e-4, 4 epochs, batch 32): nothing is tuned per objective,
so the order says how far the defaults carry on this world, not which objective is best. Finished trainings are kept beside the
run and in results.json, and are not repeated: it may be stopped and started again, and two may share the work (`--only`, each
from a checkout of its own, `taskset -c 0` and `-c 1`). All 71 and three seeds took 75 minutes in two such halves on two busy
cores. Writes results.json and results.md here.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.objectives.data import data_for, open_world
from benchmarks.objectives.table import table
from data_contracts.config import RoundsConfig
from data_contracts.config_align import AlignConfig
from data_contracts.errors import PlumblineError
from data_contracts.load_config import load_config
from data_contracts.store import Dataset, digest, open_dataset
from models.checkpoint import open_checkpoint
from models.engine import Engine
from models.objectives import REGISTRY, build_objective
from models.objectives.catalogue import default_config
from models.training.process import Trainer
from tasks.align import align
from tasks.evaluate import evaluate

HERE = Path(__file__).parent
REFUSED = {"apo_down": "it lowers the chosen answers, which are better than the policy's own in all of this world's data"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), help="a finished run whose round 1 gives the pairs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=list(REGISTRY))
    given = parser.parse_args()
    config = load_config(given.run / "config.yaml")
    assert isinstance(config, RoundsConfig) and config.teacher.kind == "local"
    start, policy = open_dataset(given.run / "round-0" / "evaluate"), open_checkpoint(config.policy)
    out = given.run.parent / "objectives"
    trainer, engine = Trainer(out / "trainer.log"), Engine(policy, config.engine)
    trainer.warm()
    world = open_world(out / "data", given.run, config, policy, open_checkpoint(config.teacher.model), engine)
    second = open_checkpoint(config.teacher.model)
    results = _read()
    for place, name in enumerate((n for n in given.only if n not in REFUSED), 1):
        objective = build_objective(default_config(name))
        settings = AlignConfig.model_validate(config.align.model_dump() | {"objective": {"name": name}})
        kind, data = data_for(world, objective)
        key = digest([settings.model_dump(mode="json"), data.key, policy.hash])
        if results.get(name, {}).get("key") != key:  # its defaults, or the data, are not what was measured
            results[name] = {"key": key, "data": kind, "defaults": settings.objective.parameters(), "runs": {}}
        for seed in given.seeds:
            if str(seed) in results[name]["runs"]:
                continue
            folder = out / name / f"{key}-{seed}"
            try:
                other = second if name == "mrpo" else None
                steps = align(folder / "align", data, settings, policy, policy, seed, trainer, second=other)
                answers = evaluate(folder / "evaluate", config.evaluate, open_checkpoint(steps.folder / "model"), engine)
                results[name]["runs"][str(seed)] = _row(steps, answers, start)
            except PlumblineError as error:
                results[name]["runs"][str(seed)] = {"error": str(error)}
            _write(results, start)
        scores = [round(r["score"], 3) if "score" in r else r["error"] for r in results[name]["runs"].values()]
        print(f"{place} {name} ({kind}): {scores}", flush=True)
    _write(results, start)
    engine.close()
    trainer.close()


def _read() -> dict[str, Any]:
    path = HERE / "results.json"
    stored = json.loads(path.read_text()).get("objectives", {}) if path.exists() else {}
    return stored if isinstance(stored, dict) else {}  # a list is from before the defaults were checked


def _write(results: dict[str, Any], start: Dataset) -> None:
    begin = _score(start)
    partial = HERE / ".results.json.partial"
    partial.write_text(json.dumps({"start": begin, "objectives": results}, indent=1) + "\n")
    partial.replace(HERE / "results.json")
    (HERE / "results.md").write_text(table(results, begin, REFUSED))


def _score(answers: Dataset) -> dict[str, float]:
    return {key: answers.facts["metrics"]["overall"][key] for key in ("mean", "low", "high")}


def _row(steps: Dataset, answers: Dataset, start: Dataset) -> dict[str, Any]:
    score = _score(answers)
    return {
        "score": score["mean"],
        "low": score["low"],
        "high": score["high"],
        "chosen_logratio": steps.facts["final_chosen_logratio"],
        "rejected_logratio": steps.facts["final_rejected_logratio"],
        "length_change": answers.facts["mean_tokens"] - start.facts["mean_tokens"],
        "seconds": steps.facts["seconds"],
    }


if __name__ == "__main__":
    main()
