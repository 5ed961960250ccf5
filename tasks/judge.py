"""Judge: which of two answers to a prompt is better, according to the teacher?

A judge that generates is asked both ways round, and two orders that disagree are a tie: one that always says "first" prefers
nobody (design, decision 6). The likelihood judge compares the teacher's log-probabilities of the answers; it knows no order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from pathlib import Path
from typing import Any

from data_contracts.config_judge import JudgeConfig
from data_contracts.errors import PlumblineError
from data_contracts.store import Dataset, Rows, build, digest
from models.chat import Message
from models.engine import Progress, Sampling, quiet
from models.parse_verdict import parse_verdict
from models.prompts import render, render_task
from models.teacher import Teacher

_SWAPPED = {"first": "second", "second": "first", "tie": "tie", "unparsed": "unparsed"}


@dataclass(frozen=True)
class Comparison:
    prompt: Sequence[Message]
    first: str
    second: str

    def swap(self) -> "Comparison":
        return Comparison(self.prompt, self.second, self.first)

    @property
    def is_identical(self) -> bool:
        """Equal answers are a tie that nobody has to be asked about."""
        return self.first.strip() == self.second.strip()


@dataclass(frozen=True)
class Verdict:
    """The verdicts of both orders in terms of the comparison as given, and what they come to together (never "unparsed")."""

    forward: str
    backward: str
    outcome: str
    first_score: float | None = None
    second_score: float | None = None


_TIE = Verdict("tie", "tie", "tie")


def compare(
    comparisons: Sequence[Comparison], config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress = quiet
) -> list[Verdict]:
    """One verdict a comparison, in order.

    Raises PlumblineError if the template does not fit or the teacher cannot score.
    """
    asked = [c for c in comparisons if not c.is_identical]
    ask = _by_likelihood if config.kind == "likelihood" else _by_generation
    verdicts = iter(ask(asked, config, teacher, seed, progress) if asked else [])
    return [_TIE if c.is_identical else next(verdicts) for c in comparisons]


def agreement(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """How far the judge can be trusted, over the comparisons it was asked.

    `orders_agree` is the share in which both orders said the same; `first_position` the share of replies preferring one answer
    that preferred the one shown first (.5 for a judge without position bias); `unparsed` counts replies. The first two are
    None for the likelihood judge, which is shown no order.
    """
    asked = [v for c, v in zip(comparisons, verdicts, strict=True) if not c.is_identical]
    written = [v for v in asked if v.first_score is None]
    shown = [v.forward for v in written] + [_SWAPPED[v.backward] for v in written]
    named = [s for s in shown if s in ("first", "second")]
    agreed = [v for v in written if v.forward == v.backward != "unparsed"]
    return {
        "comparisons": len(verdicts),
        "asked": len(asked),
        "ties": sum(v.outcome == "tie" for v in verdicts),
        "unparsed": shown.count("unparsed"),
        "orders_agree": len(agreed) / len(written) if written else None,
        "first_position": named.count("first") / len(named) if named else None,
    }


def judge(
    folder: Path, samples: Dataset, config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress = quiet
) -> Dataset:
    """The "verdicts" dataset: one row per unordered pair of answers to one prompt; facts as in `agreement`."""

    def make(_workdir: Path) -> tuple[Rows, dict[str, Any]]:
        rows = sorted(samples.records(), key=lambda r: (r["prompt_id"], r["index"]))
        groups = [list(group) for _, group in groupby(rows, key=lambda r: r["prompt_id"])]
        pairs = [pair for group in groups for pair in combinations(group, 2)]
        comparisons = [Comparison(a["prompt"], a["text"], b["text"]) for a, b in pairs]
        verdicts = compare(comparisons, config, teacher, seed, progress)
        name = judge_name(config, teacher)
        made = [_row(a, b, v, name) for (a, b), v in zip(pairs, verdicts, strict=True)]
        return made, agreement(comparisons, verdicts)

    slice_ = {**config.model_dump(mode="json"), "seed": seed}
    return build(folder, "verdicts", slice_, make, [samples], {"teacher": teacher.name})


def judge_name(config: JudgeConfig, teacher: Teacher) -> str:
    """What a figure that this judge decided must carry in its name (design, decision 10)."""
    return f"{'likelihood' if config.kind == 'likelihood' else config.template}/{teacher.name}"


def _row(first: dict[str, Any], second: dict[str, Any], verdict: Verdict, judge_: str) -> dict[str, Any]:
    return {
        "prompt_id": first["prompt_id"],
        "first_id": first["sample_id"],
        "second_id": second["sample_id"],
        "forward": verdict.forward,
        "backward": verdict.backward,
        "outcome": verdict.outcome,
        "first_score": verdict.first_score,
        "second_score": verdict.second_score,
        "judge": judge_,
    }


def _by_generation(
    comparisons: Sequence[Comparison], config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress
) -> list[Verdict]:
    orders = [order for c in comparisons for order in (c, c.swap())]
    prompts = [render(config.template, task=render_task(c.prompt), answer_a=c.first, answer_b=c.second) for c in orders]
    conversations: list[list[Message]] = [[{"role": "user", "content": p}] for p in prompts]
    replies = teacher.complete(conversations, Sampling(config.temperature, 1.0, config.max_tokens), seed, progress)
    said = [parse_verdict(r.text) for r in replies]
    verdicts = []
    for forward, swapped in zip(said[::2], said[1::2], strict=True):
        backward = _SWAPPED[swapped]
        verdicts.append(Verdict(forward, backward, forward if forward == backward != "unparsed" else "tie"))
    return verdicts


def _by_likelihood(
    comparisons: Sequence[Comparison], config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress
) -> list[Verdict]:
    if teacher.score is None:
        raise PlumblineError(f"judge.kind likelihood needs a teacher that scores, and {teacher.name} only writes: use generation")
    answers = {_id(c.prompt, text): (c.prompt, text) for c in comparisons for text in (c.first, c.second)}  # each once
    values = teacher.score([prompt for prompt, _ in answers.values()], [text for _, text in answers.values()])
    scores = dict(zip(answers, values, strict=True))
    progress(len(comparisons), len(comparisons))
    verdicts = []
    for c in comparisons:
        first, second = scores[_id(c.prompt, c.first)], scores[_id(c.prompt, c.second)]
        said = "tie" if first == second else "first" if first > second else "second"
        verdicts.append(Verdict(said, said, said, first, second))
    return verdicts


def _id(prompt: Sequence[Message], text: str) -> str:
    return digest([list(prompt), text])
