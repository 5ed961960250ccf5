"""Align the policy on validated pairs: the new checkpoint is the folder `model` inside the dataset's own folder."""

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_contracts.config_align import SHARING, AlignConfig
from data_contracts.store import Dataset, Rows, build, dataset_key, shared
from models.checkpoint import Checkpoint, open_checkpoint, read_config
from models.extrapolation import write_extrapolation
from models.gpus import settled
from models.objectives.curriculum import stages
from models.objectives.one_sided import refuse_one_sided
from models.objectives.serving import refuse_data
from models.objectives.wrappers import configured
from models.training.data import check_fit
from models.training.inputs import read_inputs
from models.training.launched import Launched
from models.training.process import Trainer
from models.training.progress import Progress, is_stuck, silent
from models.training.reference import cache_of

NOTICEABLE = 0.1  # nats: a change of a whole answer's probability by less than a tenth is no change


def align(
    folder: Path,
    pairs: Dataset,
    config: AlignConfig,
    policy: Checkpoint,
    reference: Checkpoint,
    seed: int,
    trainer: Trainer | Launched,
    progress: Progress = silent,
    second: Checkpoint | None = None,
    before: Checkpoint | None = None,
    cache: Path | None = None,
) -> Dataset:
    """Train `policy` on `pairs` (or lists) against `reference`, and a `second` one where the objective takes two.

    Dataset "steps", one row per optimiser step. With `config.momentum` the checkpoint in `model` lies beyond the one that was
    trained, which is then in `trained`, away from `before`, what the last training gave (arXiv 2410.06293).

    Reference log-probabilities are kept in the folder `cache`, by default where a sweep shares its datasets, else beside the
    pairs: trainings that share it ask each reference about the same answers once.

    Raises PlumblineError before training if the objective or the model cannot take the data, and if training fails.
    """
    config = settled(config)  # in the key is what was chosen
    settings = config.model_dump(mode="json", exclude=SHARING) | {"seed": seed}
    models = {"policy": policy.hash, "reference": reference.hash} | ({"second_reference": second.hash} if second else {})
    models |= {"before": before.hash} if before else {}
    kept = folder.with_name(f".{folder.name}.resume")  # survives a killed attempt, and is a sibling since `work` does not

    def make(work: Path) -> tuple[Rows, dict[str, Any]]:
        refuse(pairs, config, policy, second)
        job = {
            "kind": "align",
            "pairs": str(pairs.folder),
            "policy": {"path": str(policy.path), "hash": policy.hash},
            "reference": {"path": str(reference.path), "hash": reference.hash},
            "second_reference": None if second is None else {"path": str(second.path), "hash": second.hash},
            "config": config.model_dump(mode="json"),
            "seed": seed,
            "out": str(work),
            "resume": str(kept / dataset_key("steps", settings, [pairs], models)),
            "cache": str(cache or shared("references") or cache_of(pairs.folder)),
        }
        result = trainer.run(job, progress)
        steps = result["steps"]
        if before is not None and config.momentum > 0:
            (work / "model").rename(work / "trained")
            write_extrapolation(work / "trained", before.path, config.momentum, work / "model")
        return steps, {
            "steps": len(steps),
            "epochs": config.epochs,
            "pairs": pairs.rows,
            "data": pairs.kind,
            "objective": config.objective.name,
            "effective_batch": min(config.batch_size, pairs.rows),
            "tokens": result["tokens"],
            "seconds": result["seconds"],
            "tokens_per_second": result["tokens"] / result["seconds"],
            **{f"final_{name}": value for name, value in final_means(steps).items()},
            **{f"final_{name}": value for name, value in result["figures"].items()},
            "stopped_early": config.early_stop is not None and steps[-1]["epoch"] < config.epochs,
            "verdict": verdict(final_means(steps), config.objective.name, [row["loss"] for row in steps]),
            **anchor(steps, result["figures"].get("policy_score")),
            "model_hash": open_checkpoint(work / "model").hash,
        }

    done = build(folder, "steps", settings, make, [pairs], models)
    shutil.rmtree(kept, ignore_errors=True)
    return done


def refuse(pairs: Dataset, config: AlignConfig, policy: Checkpoint, second: Checkpoint | None = None) -> None:
    """Everything that can be known to be wrong without loading a model.

    Raises PlumblineError for an objective whose needs the data does not meet, an empty prompt or answer, another tokenizer's ids
    and sequences longer than the model takes.
    """
    objective = configured(config.objective, config.wrappers)
    if pairs.kind == "pairs":
        refuse_one_sided(pairs.folder, config)
    refuse_data(pairs.folder, pairs.kind, policy.hash, objective, second is not None)
    inputs = read_inputs(pairs.folder, objective.needs)
    model = read_config(policy.path)
    for examples in (inputs.examples, *inputs.aux.values()):
        check_fit(examples, model["vocab_size"], model.get("max_position_embeddings"))
    if config.curriculum is not None and config.curriculum.by == "margin":
        stages(inputs.gaps, config.curriculum.stages)


def anchor(steps: Rows, policy_score: float | None) -> dict[str, Any]:
    """What apo_auto decided, as a share and in words; nothing for other objectives."""
    shares = [row["zero_share"] for row in steps if row.get("zero_share") is not None]
    if not shares or policy_score is None:
        return {}
    share = sum(shares) / len(shares)
    words = (
        f"apo_auto raised the chosen answer (zero) in {share:.0%} of the pairs it saw, whose chosen answers score above the mean "
        f"of the policy's own ({policy_score:.3g}), and lowered both (down) in {1 - share:.0%}, whose do not"
    )
    return {"apo_auto_zero_share": share, "apo_auto": words}


def final_means(steps: Rows) -> dict[str, float | None]:
    """Means over the last tenth of the steps, at least one; None where none of them has a number."""
    last = steps[-max(1, len(steps) // 10) :]
    names = ("loss", "chosen_logratio", "rejected_logratio", "margin", "accuracy", "gradient_norm")
    known = {name: [row[name] for row in last if row[name] is not None] for name in names}
    return {name: sum(values) / len(values) if values else None for name, values in known.items()}


def verdict(final: Mapping[str, float | None], objective: str, losses: Sequence[float] = ()) -> str:
    """What training did to the answers' likelihoods, in words.

    The rule: where `losses` never left the first, nothing was learnt. Else it goes by the mean log-ratios of chosen (c) and
    rejected (r) answers to the reference over the last tenth of the steps. Within +-0.1 nats an answer has not moved. c down is
    the case to look into, unless the objective is apo_down, which means it; both up is told apart by which rose more. Where the
    data has answers of one side only, the verdict is about that side.
    """
    if is_stuck(losses):
        where = f"the loss sat at {losses[0]:.4g}, where it began"
        return f"{where}, so nothing was learnt: raise align.learning_rate, or look at the data"
    found = (final["chosen_logratio"], final["rejected_logratio"])
    c, r = (math.nan if value is None else value for value in found)
    if not (abs(c) >= NOTICEABLE or abs(r) >= NOTICEABLE):
        return "hardly anything moved: raise align.learning_rate or align.epochs"
    if math.isnan(c):
        return "rejected answers became less likely" if r < 0 else "rejected answers became more likely: look at the data"
    if c <= -NOTICEABLE:
        fell = "chosen answers became less likely" + (", rejected ones even more so" if r < c else "")
        if objective == "apo_down" and r < c:
            return f"{fell}, as apo_down intends"
        return f"{fell}: {_consider(objective, 'apo_zero', 'sft')}"
    chosen = "chosen answers became more likely" if c >= NOTICEABLE else "chosen answers stayed as likely"
    if math.isnan(r):
        return chosen
    if r <= -NOTICEABLE:
        return f"{chosen}, rejected less likely"
    if r < NOTICEABLE:
        return f"{chosen}, rejected stayed as likely"
    if r < c:
        return f"{chosen}, rejected too but less"
    return f"{chosen}, but rejected became likelier still: {_consider(objective, 'apo_zero', 'dpo')}"


def _consider(objective: str, *others: str) -> str:
    """Advice that does not name what was tried."""
    left = [name for name in others if name != objective]
    return f"consider {' or '.join(left)}{' or a lower align.learning_rate' if len(left) < len(others) else ''}"
