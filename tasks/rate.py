"""Rate: every answer's place among the answers to its prompt, from any judge.

A judge that scores answers by themselves gives its scores. One that compares gives the full win matrix of a prompt's K answers,
K (K - 1) / 2 pairs in both orders: the score is the win rate, and the ranks are the order that agrees most with all comparisons,
found exactly for K <= 8 (TSPRank's idea, arXiv 2411.12064; see models.objectives.aggregate.best_order) and by win rate beyond.
"""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from data_contracts.config_judge import SCORING, JudgeConfig
from data_contracts.errors import PlumblineError
from data_contracts.json_text import json_lines
from data_contracts.store import Dataset, Rows, build, digest, file_digest, open_dataset
from models.engine import Progress, quiet
from models.objectives.aggregate import best_order, win_rates
from models.teacher import Teacher, metered
from tasks.comparison import Verdict, by_prompt, mean_of
from tasks.judge import judge_groups, judge_name, judge_slice, score_answers
from tasks.prompts import read_conversation
from tasks.sample_others import look_up


def rate(folder: Path, samples: Dataset, config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress = quiet) -> Dataset:
    """The "scores" dataset: one row per answer. facts: `answers`, `unscored`, the `mean` score, and `teacher` (see metered).

    Raises PlumblineError as tasks.judge.compare does.
    """

    def make(_workdir: Path) -> tuple[Rows, dict[str, Any]]:
        groups = by_prompt(samples.records())
        asked, usage = metered(teacher)
        rows = (_scored if config.kind in SCORING else _compared)(groups, config, asked, seed, progress)
        known = [row["score"] for row in rows if row["score"] is not None]
        facts = {
            "answers": len(rows),
            "unscored": len(rows) - len(known),
            "mean": sum(known) / len(known) if known else None,
            "teacher": usage(folder),
        }
        return rows, facts

    return build(folder, "scores", judge_slice(config, seed), make, [samples], {"teacher": teacher.name})


def samples_in(source: Path, folder: Path, names: Mapping[str, str]) -> Dataset:
    """The samples in the folder of a dataset, or those that a file of JSON lines holds, put into `folder`.

    `names` says what the file calls `prompt` and `answer`; lines of equal prompts belong together.
    Raises PlumblineError for a folder of anything else, or naming the line that cannot be read.
    """
    if source.is_dir():
        samples = open_dataset(source)
        if samples.kind != "samples":
            raise PlumblineError(f"{source} holds {samples.kind} and no samples: name a folder such as round-1/validate_samples")
        return samples
    if unknown := sorted(set(names) - {"prompt", "answer"}):
        raise PlumblineError(f"--field {unknown[0]}=… is not a field: use prompt or answer")
    key = names.get("answer", "answer")
    rows = []
    for number, row in json_lines(source, "answers"):
        text, where = look_up(row, key), f"{source}:{number}"
        if not isinstance(text, str):
            raise PlumblineError(f"{where} has no text {key!r}: give the key's name with --field answer=NAME")
        prompt = read_conversation(look_up(row, names.get("prompt", "prompt")), where)
        known = {"sample_id": str(number), "prompt_id": digest(json.dumps(prompt)), "index": number}
        rows.append(known | {"prompt": prompt, "text": text})
    if not rows:
        raise PlumblineError(f"{source} is empty: name JSON lines with prompts and answers")
    return build(folder, "samples", {"file": file_digest(source), **names}, lambda _: (rows, {}))


def rated_rows(samples: Dataset, scores: Dataset) -> Rows:
    """Every answer with its score and rank, in the order of the samples."""
    found, told = {row["sample_id"]: row for row in scores.records()}, ("score", "rank", "votes", "judge")
    return [
        {"prompt": row["prompt"], "answer": row["text"]} | {name: found[row["sample_id"]][name] for name in told}
        for row in samples.records()
    ]


def win_matrix(count: int, verdicts: Sequence[Verdict]) -> list[list[float]]:
    """P(answer i beats answer j) of `count` answers from the verdicts on all their pairs, in the order of combinations."""
    wins = [[math.nan] * count for _ in range(count)]
    for (i, j), verdict in zip(combinations(range(count), 2), verdicts, strict=True):
        wins[i][j], wins[j][i] = verdict.win_probability, 1 - verdict.win_probability
    return wins


def ranks(scores: Sequence[float | None]) -> list[int | None]:
    """1 for the highest; equal scores share the better rank; None where there is no score."""
    return [None if s is None else 1 + sum(other is not None and other > s for other in scores) for s in scores]


def _scored(groups: list[Rows], config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress) -> Rows:
    answers = [(row["prompt"], row["text"]) for group in groups for row in group]
    votes = iter(score_answers(answers, config, teacher, seed, progress))
    name, made = judge_name(config, teacher), []
    for group in groups:
        given = [next(votes) for _ in group]
        scores = [mean_of(v) for v in given]
        for row, value, rank, vote in zip(group, scores, ranks(scores), given, strict=True):
            made.append(_row(row, value, rank, vote, name))
    return made


def _compared(groups: list[Rows], config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress) -> Rows:
    name, made = judge_name(config, teacher), []
    for group, verdicts in zip(groups, judge_groups(groups, config, teacher, seed, progress), strict=True):
        wins = win_matrix(len(group), verdicts)
        order = best_order(wins)
        for i, (row, rate) in enumerate(zip(group, win_rates(wins), strict=True)):
            made.append(_row(row, rate, order.index(i) + 1, None, name))
    return made


def _row(sample: dict[str, Any], value: float | None, rank: int | None, votes: Any, judge_: str) -> dict[str, Any]:
    return {
        "sample_id": sample["sample_id"],
        "prompt_id": sample["prompt_id"],
        "score": value,
        "rank": rank,
        "votes": votes,
        "judge": judge_,
    }
