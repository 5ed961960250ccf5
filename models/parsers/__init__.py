"""Reading an answer: what did it claim, and is that right? By name, as configurations and metrics spell it.

Nothing is ever guessed, except by the parsers called `official-…`, which do what upstream does. An answer that cannot be read is
unparsed, scores 0 and is counted. Rule scores run several points below model-judged ones, so they must not be compared with a
leaderboard (design, decision 10).
"""

from collections.abc import Callable, Sequence

from data_contracts.errors import PlumblineError
from models.benchmark import Question
from models.engine import Progress, quiet
from models.parsers.model import model
from models.parsers.official import official_rule
from models.parsers.parsed import Parsed
from models.parsers.rule_1 import rule, strict
from models.parsers.rule_2 import rule_2
from models.responses import file_name
from models.teacher import Teacher

__all__ = ["ALIASES", "NAMES", "PARSERS", "Parsed", "asks_teacher", "parser_label", "read_answers"]

PARSERS: dict[str, Callable[[Question, str], Parsed]] = {"strict-1": strict, "rule-1": rule, "rule-2": rule_2}
NAMES = (*PARSERS, "official-rule", "model-1", "official-model-1")
ALIASES = {"rule": "rule-2", "strict": "strict-1", "model": "model-1", "official-model": "official-model-1"}  # the newest


def asks_teacher(parser: str) -> bool:
    return parser in ("model-1", "official-model-1")


def parser_label(parser: str, teacher: Teacher | None) -> str:
    """What metrics are named after: a model parser's scores depend on who reads."""
    return f"{parser}-{file_name(teacher.name)}" if teacher is not None and asks_teacher(parser) else parser


def read_answers(
    parser: str,
    questions: Sequence[Question],
    responses: Sequence[str],
    teacher: Teacher | None = None,
    progress: Progress = quiet,
) -> list[Parsed]:
    """What `parser` makes of each response, in order. Raises PlumblineError for a model parser without a teacher."""
    if asks_teacher(parser):
        if teacher is None:
            raise PlumblineError(f"the parser {parser} has a model read the answers: name a teacher")
        return model(questions, responses, teacher, parser.startswith("official"), progress)
    if parser == "official-rule":
        return official_rule(questions, responses)
    return [PARSERS[parser](question, response) for question, response in zip(questions, responses, strict=True)]
