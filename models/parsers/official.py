"""`official-rule`: MixEval's own rule parsers, behaviour for behaviour, so that its scores can be compared with upstream's.

Written from the behaviour of upstream's `metric_utils.py` (github.com/Psycoy/MixEval), its defects included: a claim is cut after
words such as "is ", any target inside it makes it right, `**B**` is not seen, and an unread choice is drawn at random (seed 42).
Whoever wants to know how good a model is uses `rule-2` or a model parser.
"""

import random
import re
from collections.abc import Sequence

from models.benchmark import LETTERS, Question
from models.parsers.parsed import Parsed

SEED = 42
_LONGEST = 10_000  # characters read of an answer: upstream's answers end after 512 tokens, and its patterns are quadratic
_TAIL_AFTER = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?(?<!\d)\d++(?:\.\d++)?[eE][+-]?\d+"),  # upstream's without its backtracking
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)
_LETTER_FORMS = (
    *(" {} ", " {}\n", "\n{} ", "\n{}\n", " {}. ", " {}.\n", "\n{}. ", "\n{}.\n"),
    *("({})", "**{} ", " {}**", "**{}. ", " {}.**"),
)


def official_rule(questions: Sequence[Question], responses: Sequence[str]) -> list[Parsed]:
    """All answers of a file together and in its order, because the order decides which guess meets which answer."""
    guesses = random.Random(SEED)
    return [
        _free_form(question, response[:_LONGEST])
        if question.split == "free-form"
        else _multiple_choice(question, response[:_LONGEST], guesses)
        for question, response in zip(questions, responses, strict=True)
    ]


def _free_form(question: Question, response: str) -> Parsed:
    claims = _claims(response)
    said = [form for claim in claims for form in _forms(claim)]
    said += [form for claim in claims for pattern in _NUMBERS for number in pattern.findall(claim) for form in _forms(number)]
    wanted = [form for target in question.target for form in _forms(target)]
    texts = [form for form in wanted if isinstance(form, str)]
    right = any(any(text in form for text in texts) if isinstance(form, str) else form in wanted for form in said)
    return Parsed("; ".join(claims)[:200], float(right))


def _claims(response: str) -> list[str]:
    lines = response.strip().strip(".").lower().split("\n")
    claims = []
    for i, line in enumerate(lines):
        shortest = ""
        for mark in (*_TAIL_AFTER, "=") if i == len(lines) - 1 else _TAIL_AFTER:
            tail = line.split(mark)[-1].strip()
            if mark in line and (not shortest or len(tail) < len(shortest)):  # an empty tail gives way to the next mark's
                shortest = tail
        if shortest and shortest not in (*",.!?;:", "'"):
            claims.append(shortest)
    return claims or ["\n".join(lines)]


def _forms(text: str) -> list[float | str]:
    """A number to two decimals where the text is one, else the lower-case text; a single character only beside a blank."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]


def _multiple_choice(question: Question, response: str, guesses: random.Random) -> Parsed:
    for sign in ",.!?;:'":
        response = response.strip(sign)
    response = f" {response} "
    letters = LETTERS[: len(question.options)]
    found = [(response.find(form.format(letter)), letter) for letter in letters for form in _LETTER_FORMS]
    if all(at < 0 for at, _ in found) and len(response.split()) > 5:
        found = [(response.lower().find(o.lower()), letter) for letter, o in zip(letters, question.options, strict=True)]
    places = [(at, letter) for at, letter in found if at >= 0]
    if places:
        letter = min(places, key=lambda place: place[0])[1]
        return Parsed(question.options[LETTERS.index(letter)], _score(question, letter), letter)
    letter = guesses.choice(letters)
    return Parsed(None, _score(question, letter), letter)


def _score(question: Question, letter: str) -> float:
    return float(LETTERS.index(letter) == question.right)
