"""Listwise judges: one reply ranks all answers to a prompt. Each list is shown as it stands and reversed."""

from collections.abc import Sequence

from data_contracts.config_judge import JudgeConfig
from models.chat import Message
from models.engine import Progress
from models.parse_judgement import parse_ranking
from models.prompts import render, render_task
from models.teacher import Teacher
from tasks.ask import ask_text
from tasks.comparison import Verdict, by_votes
from tasks.criteria import Criteria

Group = tuple[Sequence[Message], Sequence[str]]  # a prompt and K answers to it
Places = list[int] | None  # of each answer, 0 = best; None where the ranking could not be read


def by_ranking(
    groups: Sequence[Group], config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress, criteria: Criteria
) -> list[list[Verdict]]:
    """Of each group, the verdict on every unordered pair of its answers, in the order of itertools.combinations.

    A pair is shown "forward" where its first answer stood before its second.
    """
    shown = [(p, texts) for prompt, answers in groups for p, texts in ((prompt, answers), (prompt, answers[::-1]))]
    prompts = [
        render(
            criteria.template,
            task=render_task(prompt),
            answers=list(texts),
            **{"criteria": "", **criteria.slot(criteria.of(prompt))},
        )
        for prompt, texts in shown
        for _ in range(config.votes)
    ]
    replies = iter(ask_text(prompts, config, teacher, seed, progress))
    judged = []
    for prompt, answers in groups:
        forward = [_places(next(replies), len(answers)) for _ in range(config.votes)]
        backward = [_reversed(_places(next(replies), len(answers))) for _ in range(config.votes)]
        criterion = criteria.of(prompt) if config.criterion_first else None
        judged.append(
            [_verdict(i, j, forward, backward, criterion) for i in range(len(answers)) for j in range(i + 1, len(answers))]
        )
    return judged


def _places(reply: str, count: int) -> Places:
    order = parse_ranking(reply, [str(n) for n in range(1, count + 1)])
    return None if order is None else [order.index(str(n)) for n in range(1, count + 1)]


def _reversed(places: Places) -> Places:
    return None if places is None else places[::-1]


def _verdict(i: int, j: int, forward: Sequence[Places], backward: Sequence[Places], criterion: str | None) -> Verdict:
    return by_votes([_share(i, j, p) for p in forward], [_share(i, j, p) for p in backward], criterion)


def _share(i: int, j: int, places: Places) -> float | None:
    return None if places is None else float(places[i] < places[j])
