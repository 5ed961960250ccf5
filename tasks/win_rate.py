"""New against old answers to the same questions -> who wins, by the teacher's verdict; raw, and at equal length.

"Old" is the previous model's answers, the start's, or anybody's that were recorded.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_contracts.config_evaluate import RecordedAnswers
from data_contracts.config_judge import JudgeConfig
from data_contracts.errors import PlumblineError
from data_contracts.store import Dataset, Rows, build, file_digest
from models.chat import user
from models.engine import Progress, quiet
from models.length_control import length_controlled
from models.statistics import mean_interval, standard_error
from models.teacher import Teacher, metered
from tasks.comparison import POINTS, Comparison
from tasks.judge import agreement, compare, judge_name, judge_slice
from tasks.sample_others import recorded_answers


def win_rate(
    folder: Path, new: Dataset, old: Dataset, config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress = quiet
) -> Dataset:
    """One verdict a question; "first" is the new model's answer. Win rate = (wins + ties / 2) / n.

    Equal answers are ties that nobody is asked about, and each distinct comparison is judged once. facts: `win_rate` with its
    95 % interval `low` to `high` and its `standard_error` (clustered by distinct question), `length_controlled` (see `rates`),
    `wins`, `losses`, `ties`, `n`, the judge's name, and how far the judge can be trusted (`asked`, `orders_agree`,
    `first_position`, see tasks.judge.agreement); `teacher`, see metered.

    Raises PlumblineError if the two datasets do not answer the same questions.
    """

    def make(_: Path) -> tuple[Rows, dict[str, Any]]:
        after, before = new.records(), {row["question_id"]: row for row in old.records()}
        if {row["question_id"]: row["prompt"] for row in after} != {id_: row["prompt"] for id_, row in before.items()}:
            raise PlumblineError(f"{new.folder} and {old.folder} answer different questions: evaluate both on one benchmark")
        couples = [(row["prompt"], row["response"], before[row["question_id"]]["response"]) for row in after]
        distinct = list(dict.fromkeys(couples))
        comparisons = [Comparison(user(prompt), first, second) for prompt, first, second in distinct]
        name, (asked, usage) = judge_name(config, teacher), metered(teacher)
        verdicts = compare(comparisons, config, asked, seed, progress)
        verdict_of = dict(zip(distinct, verdicts, strict=True))
        rows = []
        for row, couple in zip(after, couples, strict=True):
            id_ = row["question_id"]
            ids = {"prompt_id": id_, "first_id": f"new/{id_}", "second_id": f"old/{id_}"}
            rows.append(ids | asdict(verdict_of[couple]) | {"judge": name})
        points, longer = [POINTS[row["outcome"]] for row in rows], [len(new) - len(old) for _, new, old in couples]
        known = [before[row["question_id"]]["score"] for row in after]
        outcomes = Counter(row["outcome"] for row in rows)
        facts = {
            "wins": outcomes["first"],
            "losses": outcomes["second"],
            "ties": outcomes["tie"],
            "n": len(rows),
            "judge": name,
        } | rates(points, longer, [row["question"] for row in after], None if None in known else known)
        return rows, agreement(comparisons, verdicts) | facts | {"teacher": usage(folder)}

    return build(folder, "verdicts", judge_slice(config, seed), make, [new, old], {"teacher": teacher.name})


def rates(
    points: Sequence[float], longer: Sequence[int], questions: Sequence[str], difficulty: Sequence[float] | None = None
) -> dict[str, Any]:
    """`win_rate`, `low`, `high` and `standard_error` of `points` [n], and `length_controlled`: the same at equal length.

    `points` are the new answers' (1 a win, 0.5 a tie, or a judge's probabilities), `longer` by how many characters each is longer
    than the old one, `difficulty` the old model's scores. See models.length_control for what of AlpacaEval 2 this is.
    """
    interval = mean_interval(points, questions)
    return {
        "win_rate": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "standard_error": standard_error(points, questions),
        "longer": sum(longer) / len(longer),
        "length_controlled": asdict(length_controlled(points, longer, questions, difficulty)),
    }


def recorded(folder: Path, questions: Dataset, config: RecordedAnswers) -> Dataset:
    """Somebody's recorded answers to the questions of an answers dataset; they carry no token ids and no scores.

    Raises PlumblineError if the file leaves a question unanswered.
    """

    nothing: dict[str, Any] = {"prompt_ids": [], "token_ids": [], "stopped": None, "parsed": None, "score": None}

    def make(_: Path) -> tuple[Rows, dict[str, Any]]:
        rows = questions.records()
        found = find_recorded([row["prompt"] for row in rows], config)
        return [row | nothing | {"response": text} for row, text in zip(rows, found, strict=True)], {"name": config.name}

    return build(
        folder, "answers", {"file": file_digest(Path(config.file))} | config.model_dump(exclude={"file"}), make, [questions]
    )


def find_recorded(prompts: Sequence[str], config: RecordedAnswers) -> list[str]:
    """The recorded answer to each prompt. Raises PlumblineError if one has none."""
    path = Path(config.file)
    if not path.is_file():
        raise PlumblineError(f"win_rate.against names the file {path}, which does not exist: correct the path")
    known = recorded_answers(path, config.prompt, config.answer)
    missing = [prompt for prompt in prompts if prompt not in known]
    if missing:
        raise PlumblineError(
            f"{path} has no answer under {config.answer!r} to {len(missing)} of {len(prompts)} questions of the benchmark, first "
            f"{missing[0][:60]!r}: record one for each, under the prompt as it is asked"
        )
    return [known[prompt] for prompt in prompts]
