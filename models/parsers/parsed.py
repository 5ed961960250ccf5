"""What a parser makes of an answer."""

from dataclasses import dataclass

from models.benchmark import Question


@dataclass(frozen=True)
class Parsed:
    """An unparsed answer (`value` None) scores 0, except where a parser called `official-…` guesses as upstream does."""

    value: str | None  # what the answer was read as; None: unparsed
    score: float  # 1.0 right, 0.0 wrong; the model parser gives tenths between them
    raw: str | None = None  # what the value was read from, where that is not the answer itself: a judge's reply, a guessed letter


def choice(question: Question, index: int | None) -> Parsed:
    """The option that a multiple-choice answer was read as."""
    return Parsed(None, 0.0) if index is None else Parsed(question.options[index], float(index == question.right))
