"""Judges that are shown two answers, both ways round."""

from collections.abc import Sequence

from data_contracts.config_judge import JudgeConfig
from models.engine import Progress
from models.parse_verdict import parse_verdict
from models.prompts import render, render_task
from models.teacher import Teacher
from tasks.ask import ask_bare, ask_text, weigh_bare
from tasks.comparison import POINTS, Comparison, Verdict, by_votes
from tasks.criteria import Criteria

_LETTERS = {"A": 1.0, "B": 0.0, "tie": 0.5}


def by_generation(
    comparisons: Sequence[Comparison], config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress, criteria: Criteria
) -> list[Verdict]:
    """Every comparison is asked in both orders, `config.votes` times each."""
    orders = [order for c in comparisons for order in (c, c.swap()) for _ in range(config.votes)]
    texts = [criteria.of(c.prompt) for c in orders]
    prompts = [
        render(criteria.template, task=render_task(c.prompt), answer_a=c.first, answer_b=c.second, **criteria.slot(text))
        for c, text in zip(orders, texts, strict=True)
    ]
    shares: list[float | None]  # of each vote, P(what is shown first is better)
    if config.verdict == "probability":
        weights = weigh_bare(prompts, ("A", "B"), config, teacher, seed, progress)
        shares = [None if row is None else row[0] for row in weights]
    elif config.verdict == "choice":
        shares = [_LETTERS.get(reply) for reply in ask_bare(prompts, tuple(_LETTERS), config, teacher, seed, progress)]
    else:
        said = [parse_verdict(reply) for reply in ask_text(prompts, config, teacher, seed, progress)]
        shares = [None if verdict == "unparsed" else POINTS[verdict] for verdict in said]
    n, verdicts = config.votes, []
    for i, comparison in enumerate(comparisons):
        forward, shown = shares[i * 2 * n :][:n], shares[i * 2 * n + n :][:n]
        backward = [None if share is None else 1 - share for share in shown]
        verdicts.append(by_votes(forward, backward, criteria.of(comparison.prompt) if config.criterion_first else None))
    return verdicts
