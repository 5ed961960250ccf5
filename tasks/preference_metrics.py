"""What alignment did to a model, beyond its scores: how it ranks pairs, how far it moved, and how it writes."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.config_align import AlignConfig
from data_contracts.config_evaluate import PreferenceMetricsConfig
from data_contracts.store import Dataset, Rows, build
from models.chat import opening
from models.checkpoint import Checkpoint
from models.engine import Completion, Progress, Sampling, quiet
from models.objectives.batch import Need
from models.objectives.wrappers import configured
from models.preference_measures import calibration, reach
from models.statistics import mean_interval
from models.text_measures import distinct, repetition, self_bleu, sizes
from tasks.comparison import is_whole
from tasks.rank import ranking_accuracy

if TYPE_CHECKING:
    from models.engine import Engine


@dataclass(frozen=True)
class Compared:
    """The candidate, and whom it is held against; several may be the same checkpoint."""

    candidate: Checkpoint
    previous: Checkpoint
    start: Checkpoint
    reference: Checkpoint


def preference_metrics(
    folder: Path,
    data: Dataset,
    answers: Dataset,
    before: Dataset,
    models: Compared,
    align: AlignConfig,
    config: PreferenceMetricsConfig,
    max_tokens: int,
    seed: int,
    engine: "Engine",
    progress: Progress = quiet,
) -> Dataset:
    """Dataset "preferences": `config.pairs` of the pairs in `data` under the candidate and its reference; of a list, its best and
    its last answer. The facts are bounded samples' figures:

    - `train` or `held_out`, whichever the pairs are: ranking accuracies of `policy` and `reference` (tasks.rank); for objectives
      with a reference `margin` (share of pairs whose chosen answer has the higher implicit reward), and where
      models.preference_measures knows its bound, `reach` and, of pairs with a judge's win probability, `calibration`;
    - `kl.previous`, `kl.start`: Monte Carlo estimates of KL(candidate || other) on the candidate's samples at temperature 1, in
      nats `per_token` and `per_answer`;
    - `answers`, `answers_before`: `tokens`, `stop_rate` and `repetition` of the evaluation's greedy answers;
    - `diversity`: `distinct_1`, `distinct_2` and `self_bleu` of the samples.
    """
    names = {name: getattr(models, name).hash for name in ("candidate", "previous", "start", "reference")}
    settings = config.model_dump(mode="json") | {"max_tokens": max_tokens, "seed": seed}
    settings["objective"] = align.objective.model_dump(mode="json")

    def make(_: Path) -> tuple[Rows, dict[str, Any]]:
        pairs = _pairs(data, config.pairs, engine.max_model_len)
        asked = {row["question"]: row["prompt_ids"] for row in answers.records()}
        questions = [q for q in sorted(asked, key=_order)[: config.prompts] for _ in range(config.samples)]
        prompts = [asked[q] for q in questions]
        engine.use(models.candidate)
        sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=max_tokens)
        drawn = engine.generate(prompts, sampling, [seed * 100_003 + i for i in range(len(prompts))], progress)
        written = [made.token_ids[: engine.max_model_len - 1 - len(p)] for p, made in zip(prompts, drawn, strict=True)]
        of_pairs, of_samples = _log_probabilities(engine, models, pairs, prompts, written, progress)
        policy, reference = of_pairs[models.candidate.hash], of_pairs[models.reference.hash]
        rows = [_row(pair, policy[i], reference[i]) for i, pair in enumerate(pairs)]
        own = of_samples[models.candidate.hash]
        others = {"previous": of_samples[models.previous.hash], "start": of_samples[models.start.hash]}
        whole = [opening(pair["prompt"]) for pair in pairs]
        facts: dict[str, Any] = {"held_out" if config.held_out else "train": _ranked(rows, align, whole)} if rows else {}
        facts |= {"kl": {name: _kl(own, other, written, questions) for name, other in others.items()}}
        facts |= {"diversity": _diversity(drawn, config.samples)}
        return rows, facts | {"answers": _style(answers), "answers_before": _style(before)}

    return build(folder, "preferences", settings, make, [data, answers, before], names)


def _order(name: str) -> str:
    """An order that is the same in every round and has nothing to do with the content."""
    return hashlib.sha256(name.encode()).hexdigest()


def _pairs(data: Dataset, count: int, room: int) -> Rows:
    """Some of the whole pairs, always the same; those that the engine cannot take are left out."""
    rows = data.records()
    if data.kind == "lists":
        rows = [
            row
            | {"pair_id": row["list_id"], "chosen_ids": row["answer_ids"][0], "rejected_ids": row["answer_ids"][-1]}
            | {"win_probability": row["wins"][0][-1] if row["wins"] else None}
            for row in rows
        ]
    fits = [r for r in rows if is_whole(r) and len(r["prompt_ids"]) + max(len(r["chosen_ids"]), len(r["rejected_ids"])) < room]
    return sorted(fits, key=lambda row: _order(row["pair_id"]))[:count]


def _log_probabilities(
    engine: "Engine",
    models: Compared,
    pairs: Rows,
    prompts: Sequence[Sequence[int]],
    written: Sequence[Sequence[int]],
    progress: Progress,
) -> tuple[dict[str, list[tuple[float, float]]], dict[str, list[float]]]:
    """By a checkpoint's hash, in nats: (chosen, rejected) of every pair, and each of the answers `written` to `prompts`.

    Each checkpoint is swapped in and asked once, about everything.
    """
    given = [pair["prompt_ids"] for pair in pairs for _ in range(2)]
    completions = [pair[side] for pair in pairs for side in ("chosen_ids", "rejected_ids")]
    of_pairs: dict[str, list[tuple[float, float]]] = {}
    of_samples: dict[str, list[float]] = {}
    for checkpoint in (models.candidate, models.previous, models.reference, models.start):
        if checkpoint.hash not in of_pairs:
            engine.use(checkpoint)
            found = engine.score([*given, *prompts], [*completions, *written], progress)
            sides, of_samples[checkpoint.hash] = found[: len(given)], found[len(given) :]
            of_pairs[checkpoint.hash] = list(zip(sides[::2], sides[1::2], strict=True))
    return of_pairs, of_samples


def _row(pair: dict[str, Any], policy: Sequence[float], reference: Sequence[float]) -> dict[str, Any]:
    return {
        "pair_id": pair["pair_id"],
        "chosen_tokens": len(pair["chosen_ids"]),
        "rejected_tokens": len(pair["rejected_ids"]),
        "policy_chosen": policy[0],
        "policy_rejected": policy[1],
        "reference_chosen": reference[0],
        "reference_rejected": reference[1],
        "win_probability": pair["win_probability"],
    }


def _ranked(rows: Rows, align: AlignConfig, conversations: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"pairs": len(rows)}
    for name in ("policy", "reference"):
        ranked = [r | {"chosen_logp": r[f"{name}_chosen"], "rejected_logp": r[f"{name}_rejected"]} for r in rows]
        accuracies = ranking_accuracy(ranked, conversations)
        found[name] = {key: accuracies[key] for key in ("accuracy", "accuracy_per_token")}
    if Need.REFERENCE not in configured(align.objective, align.wrappers).needs:
        return found
    behind = [r["reference_chosen"] - r["reference_rejected"] for r in rows]
    margins = [r["policy_chosen"] - r["policy_rejected"] - b for r, b in zip(rows, behind, strict=True)]
    found["margin"] = sum((m > 0) + 0.5 * (m == 0) for m in margins) / len(rows)
    judged = [i for i, r in enumerate(rows) if r["win_probability"] is not None]
    said = [rows[i]["win_probability"] for i in judged]
    name, settings = align.objective.name, align.objective.model_dump()
    scale = next((settings[key] for key in ("beta", "gamma", "tau") if key in settings), None)
    found |= reach(name, scale, behind, [behind[i] for i in judged], said)
    if judged and "reach" in found and name != "ipo_sum":  # whose margin is one of probabilities, and not of log-odds
        beta = found["reach"]["beta"]
        found["calibration"] = calibration([beta * margins[i] for i in judged], said)
    return found


def _kl(own: Sequence[float], other: Sequence[float], written: Sequence[Sequence[int]], whose: Sequence[str]) -> dict[str, Any]:
    ratios = [a - b for a, b in zip(own, other, strict=True)]
    return {"per_token": sum(ratios) / sum(len(ids) for ids in written), "per_answer": asdict(mean_interval(ratios, whose))}


def _style(answers: Dataset) -> dict[str, float]:
    rows = answers.records()
    found = sizes(rows)
    repeated = sum(repetition(row["token_ids"]) for row in rows) / len(rows)
    return {"tokens": found["mean_tokens"], "stop_rate": found["stop_rate"], "repetition": repeated}


def _diversity(drawn: Sequence[Completion], samples: int) -> dict[str, float]:
    groups = [drawn[i : i + samples] for i in range(0, len(drawn), samples)]
    return {
        "distinct_1": sum(distinct([made.token_ids for made in group], 1) for group in groups) / len(groups),
        "distinct_2": sum(distinct([made.token_ids for made in group], 2) for group in groups) / len(groups),
        "self_bleu": sum(self_bleu([made.text for made in group]) for group in groups) / len(groups),
    }
