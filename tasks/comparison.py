"""What judges speak about: two answers to one prompt, and what was said about them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from data_contracts.store import digest
from models.chat import Message

SWAPPED = {"first": "second", "second": "first", "tie": "tie", "unparsed": "unparsed"}
POINTS = {"first": 1.0, "tie": 0.5, "unparsed": 0.5, "second": 0.0}


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
    """The verdicts of both orders in terms of the comparison as given, and what they come to together (never "unparsed").

    With several votes each order's verdict is that of most votes. `win_probability` is P(first beats second), the mean over
    orders and votes; `uncertainty` the mutual information of judge and label in nats, None for a single vote.
    """

    forward: str
    backward: str
    outcome: str
    first_score: float | None = None
    second_score: float | None = None
    win_probability: float = 0.5
    uncertainty: float | None = None
    criterion: str | None = None
    side_by_side: bool = True  # False: each answer was scored by itself, so that the orders are one


TIE = Verdict("tie", "tie", "tie")


def scored(first: Sequence[float | None], second: Sequence[float | None]) -> Verdict:
    """The verdict of a judge that scores each answer by itself, vote by vote; None is a vote that could not be read.

    An answer without any score is "unparsed", hence a tie.
    """
    votes = [_compared(a, b) for a, b in zip(first, second, strict=True)]
    a, b = mean_of(first), mean_of(second)
    said = _compared(a, b)
    shares = [POINTS[vote] for vote in votes]
    probability, uncertainty = sum(shares) / len(shares), mutual_information([[s] for s in shares])
    return Verdict(said, said, outcome(said, said), a, b, probability, uncertainty, None, side_by_side=False)


def outcome(forward: str, backward: str) -> str:
    """Both orders' common verdict; where they disagree or one is unread, a tie (design, decision 6)."""
    return forward if forward == backward != "unparsed" else "tie"


def mean_of(votes: Sequence[float | None]) -> float | None:
    known = [v for v in votes if v is not None]
    return sum(known) / len(known) if known else None


def mutual_information(votes: Sequence[Sequence[float]]) -> float | None:
    """BALD, H(mean p) - mean H(p) in nats, over votes of P(first beats second), each the mean over the orders it was asked in.

    Houlsby et al. 2011 (arXiv 1112.5745, equation 2) as arXiv 2409.11212 uses it for preferences: 0 where the votes agree,
    however undecided each is (a judge that loves the first place is undecided, not uncertain), ln 2 where half are sure of
    either side.
    None for a single vote.
    """
    if len(votes) < 2:
        return None
    shares = [sum(vote) / len(vote) for vote in votes]
    return max(0.0, entropy(sum(shares) / len(shares)) - sum(map(entropy, shares)) / len(shares))


def entropy(p: float) -> float:
    """Of a coin, in nats."""
    return -sum(q * math.log(q) for q in (p, 1 - p) if q > 0)


def answer_id(prompt: Sequence[Message], text: str) -> str:
    return digest([list(prompt), text])


def _compared(a: float | None, b: float | None) -> str:
    if a is None or b is None:
        return "unparsed"
    return "tie" if a == b else "first" if a > b else "second"
