"""Score pairs: what the judge thinks of both answers of a pair, for objectives that ask how good, how sure or how doubtful."""

from collections.abc import Sequence
from pathlib import Path

from data_contracts.config_judge import JudgeConfig
from data_contracts.store import Dataset, Row, Rows, build
from models.engine import Progress, quiet
from models.teacher import Teacher, metered
from tasks.comparison import Comparison, Verdict, margin, mutual_information, sigmoid
from tasks.judge import compare, judge_slice

_SCALES = ("chosen_score", "rejected_score", "win_probability", "uncertainty")


def score_pairs(
    folder: Path, pairs: Dataset, config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress = quiet
) -> Dataset:
    """The same pairs with `chosen_score`, `rejected_score`, `margin`, `win_probability` and `uncertainty`, as far as the judge
    gives them. What all recorded pairs brought along stays. What only some of them did is the judge's for all, since two scales
    must not mix.

    The likelihood judge's scores are the teacher's log-probabilities a token of the policy's, so that they compare across
    prompts. P(chosen beats rejected) is then the chance that the teacher, made to write one of the two, writes the chosen one,
    and its doubt is how far that reading and the one per token disagree (mutual information over the two). Other judges say both
    themselves, their doubt over several votes.

    Facts: `chosen_better`, the share of pairs in which the judge prefers the chosen answer, mean scores, how many pairs lost a
    value that they had brought (`rescored`), and `teacher` as models.teacher.metered says it.
    """

    def make(_work: Path) -> tuple[Rows, Row]:
        rows = pairs.records()
        asked, usage = metered(teacher)
        comparisons = [Comparison(r["prompt"], r["chosen"], r["rejected"]) for r in rows]
        kept = said_of_all(rows) if all(r["method"] in ("recorded", "human") for r in rows) else set[str]()
        rescored = sum(any(r[name] is not None for name in _SCALES if name not in kept) for r in rows)
        for row, verdict in zip(rows, compare(comparisons, config, asked, seed, progress), strict=True):
            row |= {name: value for name, value in _known(row, verdict, config.kind).items() if name not in kept}
        scores = [(r["chosen_score"], r["rejected_score"]) for r in rows if r["chosen_score"] is not None]
        means = [sum(side) / len(scores) for side in zip(*scores, strict=True)] if scores else [None, None]
        better = sum((r["win_probability"] > 0.5) + (r["win_probability"] == 0.5) / 2 for r in rows) / len(rows)
        facts = {"pairs": len(rows), "chosen_better": better, "chosen_score": means[0], "rejected_score": means[1]}
        return rows, facts | {"rescored": rescored, "teacher": usage(folder)}

    return build(folder, "pairs", judge_slice(config, seed), make, [pairs], {"teacher": teacher.name})


def said_of_all(rows: Sequence[Row]) -> set[str]:
    """The columns of scores, probabilities and doubts that every pair has; a margin stands and falls with its two scores."""
    full = {name for name in _SCALES if all(row[name] is not None for row in rows)}
    return full | {"margin"} if {"chosen_score", "rejected_score"} <= full else full - {"chosen_score", "rejected_score"}


def _known(row: Row, verdict: Verdict, kind: str) -> Row:
    if kind == "likelihood":
        return by_likelihood(
            verdict.first_score or 0.0, verdict.second_score or 0.0, len(row["chosen_ids"]), len(row["rejected_ids"])
        )
    return {
        "chosen_score": verdict.first_score,
        "rejected_score": verdict.second_score,
        "margin": margin(verdict.first_score, verdict.second_score),
        "win_probability": verdict.win_probability,
        "uncertainty": verdict.uncertainty,
    }


def by_likelihood(chosen: float, rejected: float, chosen_tokens: int, rejected_tokens: int) -> Row:
    """From the teacher's log-probabilities of both answers, in nats, and their lengths."""
    means = (chosen / chosen_tokens, rejected / rejected_tokens)
    readings = [sigmoid(chosen - rejected), sigmoid(means[0] - means[1])]
    return {
        "chosen_score": means[0],
        "rejected_score": means[1],
        "margin": means[0] - means[1],
        "win_probability": readings[0],
        "uncertainty": mutual_information([[p] for p in readings]),
    }
