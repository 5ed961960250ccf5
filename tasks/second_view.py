"""Second view: another judge looks at each pair, and only where both agree it goes on (UnifiedReward, arXiv 2503.05236)."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.config_judge import JudgeConfig
from data_contracts.records import PAIRS
from data_contracts.store import Dataset, Rows, build
from models.engine import Progress, quiet
from models.teacher import Teacher, metered
from tasks.comparison import Comparison, Verdict, is_whole
from tasks.judge import compare, judge_slice
from tasks.score_pairs import said_of_all

_MEANING = {"first": "agreed", "tie": "undecided", "second": "disagreed"}


def second_view(
    folder: Path, pairs: Dataset, config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress = quiet
) -> Dataset:
    """The pairs whose chosen answer the judge of `config` prefers as well; the others are kept in `disagreed.parquet`.

    Rows of one side, which cannot be compared, go on. Facts: `agreed`, `disagreed`, `undecided`, and how many were `one_sided`.
    What the first view did not say of all pairs (scores, a probability) is taken from the second, for all of them.
    """

    def make(work: Path) -> tuple[Rows, dict[str, Any]]:
        found = pairs.records()
        rows, alone = [row for row in found if is_whole(row)], [row for row in found if not is_whole(row)]
        asked, usage = metered(teacher)
        verdicts = compare([Comparison(r["prompt"], r["chosen"], r["rejected"]) for r in rows], config, asked, seed, progress)
        outcomes = [_MEANING[v.outcome] for v in verdicts]
        told = said_of_all(rows)
        judged = [row | _said(verdict, told) for row, verdict in zip(rows, verdicts, strict=True)]
        others = [row for row, outcome in zip(judged, outcomes, strict=True) if outcome != "agreed"]
        pq.write_table(pa.Table.from_pylist(others, schema=PAIRS), work / "disagreed.parquet")
        agreed = [row for row, outcome in zip(judged, outcomes, strict=True) if outcome == "agreed"]
        facts = {"agreed": 0, "disagreed": 0, "undecided": 0} | Counter(outcomes) | ({"one_sided": len(alone)} if alone else {})
        return agreed + alone, facts | {"teacher": usage(folder)}

    return build(folder, "pairs", judge_slice(config, seed), make, [pairs], {"teacher": teacher.name})


def _said(verdict: Verdict, told: set[str]) -> dict[str, Any]:
    """What the verdict adds to what the first view has `told` of all pairs; its "first" is the chosen answer."""
    said: dict[str, Any] = {}
    if "win_probability" not in told:
        said |= {"win_probability": verdict.win_probability, "uncertainty": verdict.uncertainty}
    if "margin" not in told and verdict.first_score is not None and verdict.second_score is not None:
        said |= {"chosen_score": verdict.first_score, "rejected_score": verdict.second_score}
        said["margin"] = verdict.first_score - verdict.second_score
    return said
