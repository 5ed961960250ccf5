"""Judges that are shown two answers, both ways round."""

from collections import Counter
from collections.abc import Sequence

from data_contracts.config_judge import JudgeConfig
from models.engine import Progress
from models.parse_verdict import parse_verdict
from models.prompts import render, render_task
from models.teacher import Teacher
from tasks.ask import ask_bare, ask_text, weigh_bare
from tasks.comparison import POINTS, SWAPPED, Comparison, Verdict, mutual_information, outcome
from tasks.criteria import Criteria

_LETTERS = {"A": "first", "B": "second", "tie": "tie"}


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
    if config.verdict == "probability":
        weights = weigh_bare(prompts, ("A", "B"), config, teacher, seed, progress)
        shares = [a for a, _ in weights]
        said = ["tie" if a == b else "first" if a > b else "second" for a, b in weights]
    else:
        if config.verdict == "choice":
            said = [
                _LETTERS.get(reply, "unparsed") for reply in ask_bare(prompts, tuple(_LETTERS), config, teacher, seed, progress)
            ]
        else:
            said = [parse_verdict(reply) for reply in ask_text(prompts, config, teacher, seed, progress)]
        shares = [POINTS[verdict] for verdict in said]
    n, verdicts = config.votes, []
    for i, comparison in enumerate(comparisons):
        there, back = (slice(i * 2 * n, i * 2 * n + n), slice(i * 2 * n + n, (i + 1) * 2 * n))
        forward, backward = most(said[there]), SWAPPED[most(said[back])]
        votes = [(a, 1 - b) for a, b in zip(shares[there], shares[back], strict=True)]
        probability = sum(map(sum, votes)) / (2 * n)
        chosen = criteria.of(comparison.prompt) if config.criterion_first else None
        said_together = outcome(forward, backward)
        verdicts.append(Verdict(forward, backward, said_together, None, None, probability, mutual_information(votes), chosen))
    return verdicts


def most(votes: Sequence[str]) -> str:
    """The verdict of most votes; a tie where two lead. Votes that could not be read count only if there is no other."""
    read = Counter(vote for vote in votes if vote != "unparsed").most_common(2)
    if not read:
        return "unparsed"
    return "tie" if len(read) == 2 and read[0][1] == read[1][1] else read[0][0]
