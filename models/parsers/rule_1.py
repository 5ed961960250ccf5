"""`strict-1` and `rule-1`: the first rules. They are never changed, so that scores of old runs can be compared with new ones.

`rule-1` takes an answer that merely repeats the question's words for right where a target is among them; `rule-2` does not.
"""

import re
import unicodedata
from collections.abc import Sequence

from models.benchmark import LETTERS, Question
from models.parsers.parsed import Parsed, choice


def strict(question: Question, response: str) -> Parsed:
    """`strict-1`, for closed worlds: an answer has the right form or it is wrong.

    Free-form: the stripped answer is one of the targets, character by character. Multiple-choice: one sentence that names exactly
    one option as a whole word. More than one sentence, or half of one, is unparsed.
    """
    answer = response.strip()
    if question.split == "free-form":
        right = answer in question.target
        return Parsed(answer if right or _is_sentence(answer) else None, float(right))
    named = _named(question.options, answer) if _is_sentence(answer) else []
    return choice(question, named[0] if len(named) == 1 else None)


def rule(question: Question, response: str) -> Parsed:
    """`rule-1`, for the answers of general chat models.

    Multiple-choice: a leading letter, else the letter in bold or in a box, else the letter after "the answer is", else the one
    option whose text occurs; two different letters of the same kind are unparsed. Free-form: the claim (what follows "the answer
    is" or "therefore", what is in a box or alone in bold, else everything) must hold a target as whole words; where a target is
    a number, the claim's own number must equal it.
    """
    if question.split == "multiple-choice":
        return choice(question, _chosen(question.options, response))
    claim = _claim(response)
    if not re.search(r"\w", claim):
        return Parsed(None, 0.0)
    return Parsed(claim[:200], float(any(_holds(claim, target) for target in question.target)))


def _is_sentence(text: str) -> bool:
    return re.fullmatch(r"[^\n]*?\w[.!?]", text) is not None and re.search(r"[.!?]\s", text) is None


def _named(options: Sequence[str], text: str) -> list[int]:
    """Indices of the options that occur in the text as whole words; where one option holds another, the longer one is meant."""
    found = []
    for index, option in sorted(enumerate(options), key=lambda item: -len(item[1])):
        text, n = re.subn(rf"(?<!\w){re.escape(option.strip())}(?!\w)", " ", text, flags=re.IGNORECASE)
        if n:
            found.append(index)
    return found


# How an answer names a letter, surest first. A bare "A" before more words is an article: something must close a leading letter.
_LETTERS = (
    re.compile(r"""\A[\s*_(\["']*([A-Z])(?:[.):\]*_"']+(?!\w)|\s*$|\s*\n)"""),
    re.compile(r"\*\*\s*\(?([A-Z])(?:[).:]\s*[^*]*|\s*)\*\*"),
    re.compile(r"\\boxed\{\s*(?:\\text\{\s*)?\(?([A-Z])\)?\s*\}"),
    re.compile(
        r"""\b(?i:(?:answer|choice|option)(?:\s+is|\s+would\s+be|\s*:)(?:\s+option)?)[\s:*_(\["']*([A-Z])(?![\w'\u2019]|\s+[a-z])"""
    ),
)


def _chosen(options: tuple[str, ...], response: str) -> int | None:
    for pattern in _LETTERS:
        letters = set(pattern.findall(response)) & set(LETTERS[: len(options)])
        if letters:
            return LETTERS.index(letters.pop()) if len(letters) == 1 else None
    named = _named(options, response)
    return named[0] if len(named) == 1 else None


_CLAIM = re.compile(r"(?:\b(?:final\s+)?answer(?:\s+is|\s*:)|\b(?:therefore|thus|hence)\b|####)[\s:,*_]*(?=\S)", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.])-?[$£€]?\s?(\d[\d,]*(?:\.\d+)?|\.\d+)")
_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_YES_NO = ("yes", "no", "true", "false", "valid", "invalid")


def _claim(response: str) -> str:
    """The part of a free-form answer that answers: after its last conclusion, in a box, alone in bold, or all of it."""
    boxed = re.findall(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}", response)
    if boxed:
        return str(boxed[-1])
    *_, end = [0, *(found.end() for found in _CLAIM.finditer(response))]
    tail = response[end:].strip().split("\n")[0] if end else response.strip()
    bold = {text.strip() for text in re.findall(r"\*\*([^*\n]+)\*\*", tail) if not text.strip().endswith(":")}
    return bold.pop() if len(bold) == 1 else tail.strip("*_ ")


def _holds(claim: str, target: str) -> bool:
    wanted = _number(target, alone=True)
    if wanted is not None:
        return _number(claim) == wanted
    if option := re.fullmatch(r"\(([A-Z])\)", target.strip()):
        said_letter = re.search(r"\(([A-Z])\)|\A\W*([A-Z])(?!\w)", claim)
        return said_letter is not None and option[1] in said_letter.groups()
    if target.strip().lower() in _YES_NO:
        said = [word for word in _words(claim).split() if word in _YES_NO]
        return said[:1] == [target.strip().lower()]
    text = re.sub(r"^(?:the|an?) (?=.)", "", _words(target))
    return bool(text) and f" {text} " in f" {_words(claim)} "


def _number(text: str, alone: bool = False) -> float | None:
    """The last number in the text, in digits or words up to twelve; with `alone`, only if the text is nothing but that number."""
    if alone and not re.fullmatch(r"-?[$£€]?\s?(?:\d[\d,]*(?:\.\d+)?|\.\d+)\s?%?", text.strip()):
        return None
    found = _NUMBER.findall(text)
    if found:
        return float(("-" if alone and text.strip().startswith("-") else "") + found[-1].replace(",", ""))
    spelled = [word for word in _words(text).split() if word in _WORDS]
    return float(_WORDS.index(spelled[-1])) if spelled else None


def _words(text: str) -> str:
    """Lower-case words without accents, punctuation or LaTeX, one blank between them; a fraction stays one word."""
    text = re.sub(r"\\d?frac\{([^{}]*)\}\{([^{}]*)\}", r"\1/\2", text)
    text = re.sub(r"\\(?:text|left|right|mathrm)\b", " ", text)
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).lower()
    return " ".join(re.sub(r"[^\w/]+", " ", re.sub(r"['\u2019`]", "", text)).split())
