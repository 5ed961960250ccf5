"""New against old answers to the same questions -> who wins, by the teacher's verdict."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_contracts.config_judge import JudgeConfig
from data_contracts.errors import PlumblineError
from data_contracts.store import Dataset, Rows, build
from models.engine import Progress, quiet
from models.statistics import mean_interval
from models.teacher import Teacher, metered
from tasks.judge import Comparison, agreement, compare, judge_name, judge_slice

_POINTS = {"first": 1.0, "tie": 0.5, "second": 0.0}


def win_rate(
    folder: Path, new: Dataset, old: Dataset, config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress = quiet
) -> Dataset:
    """One verdict a question; "first" is the new model's answer. Win rate = (wins + ties / 2) / n.

    Equal answers are ties that nobody is asked about, and each distinct comparison is judged once. facts: `win_rate` with its
    95 % interval `low` to `high` (clustered by distinct question), `wins`, `losses`, `ties`, `n`, the judge's name, and how far
    the judge can be trusted (`asked`, `orders_agree`, `first_position`, see tasks.judge.agreement); `teacher`, see metered.

    Raises PlumblineError if the two datasets do not answer the same questions.
    """

    def make(_: Path) -> tuple[Rows, dict[str, Any]]:
        after, before = new.records(), {row["question_id"]: row for row in old.records()}
        if {row["question_id"]: row["prompt"] for row in after} != {id_: row["prompt"] for id_, row in before.items()}:
            raise PlumblineError(f"{new.folder} and {old.folder} answer different questions: evaluate both on one benchmark")
        couples = [(row["prompt"], row["response"], before[row["question_id"]]["response"]) for row in after]
        distinct = list(dict.fromkeys(couples))
        comparisons = [Comparison([{"role": "user", "content": prompt}], first, second) for prompt, first, second in distinct]
        asked, usage = metered(teacher)
        verdicts = compare(comparisons, config, asked, seed, progress)
        verdict_of = dict(zip(distinct, verdicts, strict=True))
        rows = []
        for row, couple in zip(after, couples, strict=True):
            id_ = row["question_id"]
            ids = {"prompt_id": id_, "first_id": f"new/{id_}", "second_id": f"old/{id_}"}
            rows.append(ids | asdict(verdict_of[couple]) | {"judge": judge_name(config, teacher)})
        interval = mean_interval([_POINTS[row["outcome"]] for row in rows], [row["question"] for row in after])
        outcomes = Counter(row["outcome"] for row in rows)
        facts = {
            "win_rate": interval.mean,
            "low": interval.low,
            "high": interval.high,
            "wins": outcomes["first"],
            "losses": outcomes["second"],
            "ties": outcomes["tie"],
            "n": len(rows),
            "judge": judge_name(config, teacher),
        }
        return rows, agreement(comparisons, verdicts) | facts | {"teacher": usage()}

    return build(folder, "verdicts", judge_slice(config, seed), make, [new, old], {"teacher": teacher.name})
