"""Pair: a chosen and a rejected answer to each prompt that taught something. Pure selection; what is left out is counted."""

from itertools import groupby
from pathlib import Path
from typing import Any

from data_contracts.store import Dataset, Rows, build
from tasks.revise import is_unchanged

Row = dict[str, Any]


def pair_clair(folder: Path, revisions: Dataset) -> Dataset:
    """CLAIR (arXiv 2408.06266, equation 1): the revision is chosen, the policy's own answer rejected.

    Revisions that failed or changed nothing make no pair.
    """

    def make(_workdir: Path) -> tuple[Rows, Row]:
        rows = revisions.records()
        parsed = [r for r in rows if r["revision"] is not None]
        changed = [r for r in parsed if not is_unchanged(r)]
        facts = {
            "pairs": len(changed),
            "unchanged": len(parsed) - len(changed),
            "failed": len(rows) - len(parsed),
        }
        return [_clair(r) for r in changed], facts

    return build(folder, "pairs", {"method": "clair"}, make, [revisions])


def pair_judged(folder: Path, samples: Dataset, verdicts: Dataset) -> Dataset:
    """On-policy judge (arXiv 2408.06266, equation 2): of a prompt's answers, the judge's winner is chosen, the loser rejected.

    One pair a prompt: the widest margin where the judge scored, else the first comparison it decided.
    """

    def make(_workdir: Path) -> tuple[Rows, Row]:
        sample = {r["sample_id"]: r for r in samples.records()}
        judged = sorted(verdicts.records(), key=lambda r: r["prompt_id"])  # stable: a prompt's verdicts keep their order
        groups = [list(group) for _, group in groupby(judged, key=lambda r: r["prompt_id"])]
        decided = [[r for r in group if r["outcome"] != "tie"] for group in groups]
        # max keeps the first of equals, so without scores it is the first decided comparison
        best = [max(group, key=lambda r: _margin(r) or 0.0) for group in decided if group]
        facts = {
            "pairs": len(best),
            "undecided": len(groups) - len(best),
            "single": len({s["prompt_id"] for s in sample.values()}) - len(groups),
        }
        return [_judged(r, sample) for r in best], facts

    return build(folder, "pairs", {"method": "on_policy_judge"}, make, [samples, verdicts])


def _clair(row: Row) -> Row:
    return {
        "pair_id": f"{row['sample_id']}/clair",
        "prompt_id": row["prompt_id"],
        "prompt": row["prompt"],
        "prompt_ids": row["prompt_ids"],
        "chosen": row["revision"],
        "rejected": row["text"],
        "chosen_ids": row["revision_ids"],
        "rejected_ids": row["token_ids"],
        "chosen_stopped": True,
        "rejected_stopped": row["stopped"],
        "method": "clair",
        "margin": None,
        "reasoning": row["reasoning"] or "",
        "policy": row["policy"],
    }


def _judged(verdict: Row, sample: dict[str, Row]) -> Row:
    ids = (verdict["first_id"], verdict["second_id"])
    chosen, rejected = (sample[i] for i in (ids if verdict["outcome"] == "first" else ids[::-1]))
    return {
        "pair_id": f"{verdict['prompt_id']}/judged",
        "prompt_id": verdict["prompt_id"],
        "prompt": chosen["prompt"],
        "prompt_ids": chosen["prompt_ids"],
        "chosen": chosen["text"],
        "rejected": rejected["text"],
        "chosen_ids": chosen["token_ids"],
        "rejected_ids": rejected["token_ids"],
        "chosen_stopped": chosen["stopped"],
        "rejected_stopped": rejected["stopped"],
        "method": "on_policy_judge",
        "margin": _margin(verdict),
        "reasoning": "",
        "policy": rejected["policy"],
    }


def _margin(verdict: Row) -> float | None:
    """The winner's score minus the loser's."""
    if verdict["first_score"] is None:
        return None
    return float(abs(verdict["first_score"] - verdict["second_score"]))
