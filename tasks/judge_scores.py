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
    tasks = [(render_task(prompt), text) for prompt, text in answers for _ in range(config.votes)]
    met: Sequence[Sequence[float | None] | None]  # of each vote, how far each point is met, 0 to 1
    if config.verdict == "text":
        prompts = [render(criteria.template, task=task, answer=text, points=points) for task, text in tasks]
        met = [parse_checklist(reply, len(points)) for reply in ask_text(prompts, config, teacher, seed, progress)]
    else:
        prompts = [render(criteria.template, task=task, answer=text, point=point) for task, text in tasks for point in points]
        met = _grouped(_yes(prompts, config, teacher, seed, progress), len(points))
    return _grouped([_weighted(vote, weights) for vote in met], config.votes)


def _yes(prompts: Sequence[str], config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress) -> Votes:
    """Of each question 1 for yes and 0 for no, or the probability of yes; None for a reply that says neither."""
    if config.verdict == "probability":
        weights = weigh_bare(prompts, _YES_NO, config, teacher, seed, progress)
        return [None if row is None else row[0] for row in weights]
    replies = ask_bare(prompts, _YES_NO, config, teacher, seed, progress)
    return [float(said == "yes") if said else None for said in replies]


def _weighted(met: Sequence[float | None] | None, weights: Sequence[float]) -> float | None:
    """The weighted share of points met; None where one of them could not be read."""
    known = [share for share in met or () if share is not None]
    if len(known) < len(weights):
        return None
    return sum(w * share for w, share in zip(weights, known, strict=True)) / sum(weights)


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
