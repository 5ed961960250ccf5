"""What judges speak about: two answers to one prompt, and what was said about them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from data_contracts.store import Row, Rows, digest
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
    def log_length_ratio(self) -> float:
        """Of the first answer over the second, in characters."""
        return math.log((len(self.first) + 1) / (len(self.second) + 1))

    @property
    def is_identical(self) -> bool:
        """Equal answers are a tie that nobody has to be asked about."""
        return is_same(self.first, self.second)


@dataclass(frozen=True)
class Verdict:
    """The verdicts of both orders in terms of the comparison as given, and what they come to together (never "unparsed").

    Each order says what the mean of its votes says (`heard`), and `win_probability` is P(first beats second), the mean of both
    orders: an outcome of "first" always has one above 1/2, "second" one below. That of a tie may lean, where the orders disagree.
    `uncertainty` is the mutual information of judge and label in nats, None for a single vote.
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


def said(first_wins: float) -> str:
    """The verdict that a probability of the first answer's being better comes to."""
    return "tie" if first_wins == 0.5 else "first" if first_wins > 0.5 else "second"


def heard(votes: Sequence[float | None]) -> tuple[str, float]:
    """What votes of P(first beats second), 0 to 1, come to: the verdict that their mean gives, and the mean.

    None is a vote that could not be read, and counts only if there is no other: "unparsed", and 1/2.
    """
    mean = mean_of(votes)
    if mean is None:
        return "unparsed", 0.5
    return said(mean), mean


def by_votes(forward: Sequence[float | None], backward: Sequence[float | None], criterion: str | None = None) -> Verdict:
    """The verdict of a judge that is shown both answers: its votes of P(first beats second) in either order."""
    (there, one), (back, other) = heard(forward), heard(backward)
    votes = [[0.5 if share is None else share for share in vote] for vote in zip(forward, backward, strict=True)]
    return Verdict(there, back, outcome(there, back), None, None, (one + other) / 2, mutual_information(votes), criterion)


def scored(first: Sequence[float | None], second: Sequence[float | None]) -> Verdict:
    """The verdict of a judge that scores each answer by itself, vote by vote; None is a vote that could not be read.

    The mean scores and the mean of the votes' own verdicts must agree, as two orders must: else it is a tie. An answer without
    any score is "unparsed", hence a tie.
    """
    shares = [_points(a, b) for a, b in zip(first, second, strict=True)]
    a, b = mean_of(first), mean_of(second)
    (by_scores, _), (by_verdicts, probability) = heard([_points(a, b)]), heard(shares)
    both = "unparsed" if by_scores == "unparsed" else outcome(by_scores, by_verdicts)
    uncertainty = mutual_information([[0.5 if share is None else share] for share in shares])
    return Verdict(both, both, outcome(both, both), a, b, probability, uncertainty, None, side_by_side=False)


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


def sigmoid(gap: float) -> float:
    """The chance that a gap in nats stands for."""
    return 1 / (1 + math.exp(-gap)) if gap >= 0 else math.exp(gap) / (1 + math.exp(gap))


def chance(verdict: Mapping[str, Any]) -> float:
    """P(first beats second) by a row of the verdicts, which some judges' rows do not tell."""
    known = verdict.get("win_probability")
    return POINTS[verdict["outcome"]] if known is None else float(known)


def margin(chosen: float | None, rejected: float | None) -> float | None:
    """By how much the judge's score of the chosen answer is the higher; None where it did not score both."""
    return None if chosen is None or rejected is None else float(chosen - rejected)


def by_prompt(rows: Sequence[Row]) -> list[Rows]:
    """Rows of one prompt together, prompts by id; a prompt's samples by their index, its verdicts as they come."""
    ordered = sorted(rows, key=lambda r: (r["prompt_id"], r.get("index", 0)))
    return [list(group) for _, group in groupby(ordered, key=lambda r: r["prompt_id"])]


def is_same(one: str, other: str) -> bool:
    """Answers that differ at most in white space around them: nothing to judge, nothing to learn."""
    return one.strip() == other.strip()


def is_whole(pair: Row) -> bool:
    """Whether a pair has both sides."""
    return pair["chosen_ids"] is not None and pair["rejected_ids"] is not None


def answer_id(prompt: Sequence[Message], text: str) -> str:
    return digest([list(prompt), text])


def _points(a: float | None, b: float | None) -> float | None:
    """1 where the first score is the higher, 1/2 where they are equal."""
    return None if a is None or b is None else 0.5 if a == b else float(a > b)
