"""Judges that score each answer by itself: from 1 to 10, the share of a checklist that it meets, or its likelihood."""

import math
from collections.abc import Sequence

from data_contracts.config_judge import JudgeConfig
from data_contracts.errors import PlumblineError
from models.chat import Message
from models.engine import Progress
from models.parse_judgement import HIGHEST, LOWEST, parse_checklist, parse_score
from models.prompts import render, render_task
from models.teacher import Teacher
from tasks.ask import ask_bare, ask_text, weigh_bare
from tasks.criteria import Criteria

Answer = tuple[Sequence[Message], str]
Votes = list[float | None]
_SCALE = tuple(str(n) for n in range(LOWEST, HIGHEST + 1))
_YES_NO = ("yes", "no")


def by_score(
    answers: Sequence[Answer], config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress, criteria: Criteria
) -> list[Votes]:
    """Each answer's `config.votes` scores from 1 to 10; as a probability, the expected score over the ten numbers."""
    repeated = [answer for answer in answers for _ in range(config.votes)]
    prompts = [
        render(criteria.template, task=render_task(prompt), answer=text, **criteria.slot(criteria.of(prompt)))
        for prompt, text in repeated
    ]
    scores: Votes
    if config.verdict == "probability":
        weights = weigh_bare(prompts, _SCALE, config, teacher, seed, progress)
        numbers = range(LOWEST, HIGHEST + 1)
        scores = [None if row is None else sum(p * n for p, n in zip(row, numbers, strict=True)) for row in weights]
    elif config.verdict == "choice":
        scores = [float(reply) if reply else None for reply in ask_bare(prompts, _SCALE, config, teacher, seed, progress)]
    else:
        read = [parse_score(reply) for reply in ask_text(prompts, config, teacher, seed, progress)]
        scores = [None if score is None else float(score) for score in read]
    return _grouped(scores, config.votes)


def by_checklist(
    answers: Sequence[Answer], config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress, criteria: Criteria
) -> list[Votes]:
    """Each answer's `config.votes` weighted shares, 0 to 1, of the rubric's points it meets.

    Read from text, all points are one question; as a choice or a probability, each point is a question of its own.
    """
    assert criteria.rubric is not None
    points = [point.text for point in criteria.rubric.criteria]
    weights = [point.weight for point in criteria.rubric.criteria]
    repeated = [answer for answer in answers for _ in range(config.votes)]
    met: list[Sequence[float] | None]
    if config.verdict == "text":
        prompts = [render(criteria.template, task=render_task(p), answer=text, points=points) for p, text in repeated]
        read = [parse_checklist(reply, len(points)) for reply in ask_text(prompts, config, teacher, seed, progress)]
        met = [None if row is None else [float(yes) for yes in row] for row in read]
    else:
        prompts = [
            render(criteria.template, task=render_task(p), answer=text, point=point) for p, text in repeated for point in points
        ]
        each: Votes
        if config.verdict == "probability":
            told = weigh_bare(prompts, _YES_NO, config, teacher, seed, progress)
            each = [None if row is None else row[0] for row in told]
        else:
            each = [
                float(said == "yes") if said else None for said in ask_bare(prompts, _YES_NO, config, teacher, seed, progress)
            ]
        rows = [[v for v in each[i : i + len(points)] if v is not None] for i in range(0, len(each), len(points))]
        met = [row if len(row) == len(points) else None for row in rows]
    shares = [None if row is None else sum(w * m for w, m in zip(weights, row, strict=True)) / sum(weights) for row in met]
    return _grouped(shares, config.votes)


def by_likelihood(answers: Sequence[Answer], teacher: Teacher, progress: Progress) -> list[Votes]:
    """How likely the teacher would have been to write each answer: its summed log-probability in nats.

    Raises PlumblineError for a teacher that only writes, and for answers that do not fit its context.
    """
    if teacher.score is None:
        raise PlumblineError(f"judge.kind likelihood needs a teacher that scores, and {teacher.name} only writes: use generation")
    values = teacher.score([prompt for prompt, _ in answers], [text for _, text in answers])
    if long := values.count(-math.inf):
        raise PlumblineError(
            f"{long} of {len(values)} answers leave no room for their prompt in the teacher's engine.max_model_len: raise it, or "
            "give judge.kind generation, which counts what it cannot read"
        )
    progress(len(answers), len(answers))
    return [[value] for value in values]


def _grouped(values: Sequence[float | None], size: int) -> list[Votes]:
    return [list(values[i : i + size]) for i in range(0, len(values), size)]
