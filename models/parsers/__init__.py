"""Reading an answer: what did it claim, and is that right? By name, as configurations and metrics spell it.

Nothing is ever guessed, except by the parsers called `official-…`, which do what upstream does. An answer that cannot be read is
unparsed, scores 0 and is counted. Rule scores run several points below model-judged ones, so they must not be compared with a
leaderboard (design, decision 10).
"""

from collections.abc import Callable, Sequence

from models.benchmark import Question
from models.parsers.official import official_rule
from models.parsers.parsed import Parsed
from models.parsers.rule_1 import rule, strict

__all__ = ["PARSERS", "Parsed", "read_answers"]

PARSERS: dict[str, Callable[[Question, str], Parsed]] = {"strict-1": strict, "rule-1": rule}


def read_answers(parser: str, questions: Sequence[Question], responses: Sequence[str]) -> list[Parsed]:
    """What `parser` makes of each response, in order."""
    if parser == "official-rule":
        return official_rule(questions, responses)
    return [PARSERS[parser](question, response) for question, response in zip(questions, responses, strict=True)]
