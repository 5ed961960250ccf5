"""Does a policy give the chosen answer of a held-out pair the higher probability? Before and after training, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_contracts.errors import PlumblineError
from data_contracts.store import Dataset, Row, Rows, build
from models.chat import opening
from models.checkpoint import Checkpoint
from models.statistics import mean_interval
from models.training.process import Trainer
from models.training.progress import Progress, silent
from tasks.comparison import is_whole


def rank(
    folder: Path,
    pairs: Dataset,
    policy: Checkpoint,
    trainer: Trainer,
    progress: Progress = silent,
) -> Dataset:
    """Dataset "rankings" of the whole pairs in `pairs` under `policy`, its facts the ranking accuracies."""

    def make(work: Path) -> tuple[Rows, dict[str, Any]]:
        policy_ = {"path": str(policy.path), "hash": policy.hash}
        whole = [row for row in pairs.records() if is_whole(row)]
        job = {"kind": "rank", "pairs": str(pairs.folder), "policy": policy_}
        rows = trainer.run(job, progress)["rows"] if whole else []
        openings = [opening(row["prompt"]) for row in whole]
        return rows, ranking_accuracy(rows, openings)

    return build(folder, "rankings", {}, make, [pairs], {"policy": policy.hash})


def ranking_accuracy(rows: Rows, clusters: Sequence[str] | None = None) -> dict[str, Any]:
    """Shares of pairs ranked rightly (arXiv 2405.19534), each with its interval; pairs of one cluster hang together.

    `accuracy` goes by the summed log-probability, which favours short answers, `accuracy_per_token` by its mean, which does not.
    `shorter` is what always choosing the shorter answer would score: compare before believing the first. Without pairs all three
    are None.
    """
    if not rows:
        return {"pairs": 0, "accuracy": None, "accuracy_per_token": None, "shorter": None}
    return {
        "pairs": len(rows),
        "accuracy": share([r["chosen_logp"] > r["rejected_logp"] for r in rows], clusters),
        "accuracy_per_token": share(
            [r["chosen_logp"] / r["chosen_tokens"] > r["rejected_logp"] / r["rejected_tokens"] for r in rows], clusters
        ),
        "shorter": share([r["chosen_tokens"] < r["rejected_tokens"] for r in rows], clusters),
    }


def conversations(pairs: Dataset) -> dict[str, str]:
    """Of every pair by its id, the conversation that it is of: pairs of one hang together."""
    return {row["pair_id"]: opening(row["prompt"]) for row in pairs.records()}


def ranked_rightly(row: Row, conversation: str) -> Row:
    """A ranked pair as a question that was answered rightly or not, for models.statistics.paired_test."""
    score = float(row["chosen_logp"] > row["rejected_logp"])
    return {"question_id": row["pair_id"], "question": conversation, "score": score}


def reward_accuracy(policy: Dataset, reference: Dataset, openings: Mapping[str, str]) -> dict[str, float]:
    """Share of pairs whose margin grew from `reference` to `policy` (log-ratio of chosen above that of rejected), with interval.

    `openings` is that of `conversations`.
    Raises PlumblineError if the two rankings are not of the same pairs.
    """
    after, before = policy.records(), reference.records()
    if [r["pair_id"] for r in after] != [r["pair_id"] for r in before]:
        raise PlumblineError(f"{policy.folder} and {reference.folder} rank different pairs: rank one dataset under both models")

    def margin(row: dict[str, Any]) -> float:
        return float(row["chosen_logp"] - row["rejected_logp"])

    grew = [margin(a) > margin(b) for a, b in zip(after, before, strict=True)]
    return share(grew, [openings[row["pair_id"]] for row in after])


def share(hits: Sequence[bool], clusters: Sequence[str] | None = None) -> dict[str, float]:
    """Share of true values with its 95 % interval.

    A bootstrap over clusters where one holds several, else Wilson's score interval, which also holds near 0 and 1.
    """
    if clusters is not None and len(set(clusters)) < len(hits):
        return asdict(mean_interval([float(hit) for hit in hits], clusters))
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(sum(hits), len(hits), method="wilson")
    return {"mean": sum(hits) / len(hits), "low": float(low), "high": float(high)}
