"""`rule-2`: reads more forms of a chat model's answer than `rule-1`, and takes no echo of the question for an answer.

Multiple-choice, surest first: a leading letter, plain, in bold or in brackets; a letter in bold or in a box; the letter after
"the answer is"; one in brackets or after "option"; the option whose text or number the answer names; "option 2" or "the second
option". Two different options of the same kind are unparsed.

Free-form: the claim is what follows "the answer is" or "therefore", what is in a box or alone in bold, a short first paragraph,
else everything. A number must equal the target, in digits or words. A text must occur in the claim as whole words, give or take
an article, a plural or a remark in brackets, and not be denied. A target that the question holds is an echo: it counts only where
it is about all that the claim says, or is named before the other of the question's two alternatives ("A or B?").
"""

import re
import unicodedata
from collections.abc import Sequence

from models.benchmark import LETTERS, Question
from models.parsers.numbers import answered_number, only_number
from models.parsers.parsed import Parsed, choice

_LONGEST = 10_000  # characters read of an answer


def rule_2(question: Question, response: str) -> Parsed:
    response = response[:_LONGEST].replace("\u2019", "'")
    if question.split == "multiple-choice":
        return choice(question, _chosen(question, response))
    claim = _claim(response, question.prompt)
    if not re.search(r"\w", claim):
        return Parsed(None, 0.0)
    if {target.strip().lower() for target in question.target} <= _TRUTH.keys():
        said = _truth(claim)
        return Parsed(said, float(said is not None and any(_TRUTH[t.strip().lower()] is _TRUTH[said] for t in question.target)))
    return Parsed(claim[:200], float(any(_holds(claim, target, question.prompt) for target in question.target)))


# Multiple-choice. A bare "A" before more words is an article, so something must close a leading letter.
_LETTER_KINDS = (
    re.compile(r"""\A[\s*_(\["'#]*([A-Z])(?:[.):\]*_"',]+(?!\w)|\s*$|\s*\n)|\A\s*\(([a-z])\)|\A\s*([a-z])[.)](?:\s|$)"""),
    re.compile(r"\*\*\s*[(\[]?([A-Z])(?:[\])]*[).:]\s*[^*\n]*|[\])]?\s*)\*\*|\\boxed\{\s*(?:\\text\w*\{\s*)?\(?([A-Z])\b"),
    re.compile(
        r"""\b(?i:(?:answer|choice)(?:\s+is|\s+would\s+be|\s*:)(?:\s+option)?|(?:choose|select|pick|go\s+with)(?:\s+option)?)"""
        r"""[\s:*_(\["']*([A-Z])(?![\w']|\s+[a-z])"""
    ),
    re.compile(r"(?<!\w)\(([A-Z])\)(?!\w)|\b[Oo]ption\s+\(?([A-Z])\b"),
)
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def _chosen(question: Question, response: str) -> int | None:
    options = question.options
    for kind in _LETTER_KINDS:
        found = {letter.upper() for match in kind.finditer(response) for letter in match.groups() if letter}
        letters = found & set(LETTERS[: len(options)])
        if letters:
            return LETTERS.index(letters.pop()) if len(letters) == 1 else None
    for text in (response, _claim(response, question.prompt)):
        named = _named(options, text)
        if len(named) == 1:
            return named[0]
    values = [only_number(option) for option in options]
    if None not in values and len(set(values)) == len(values):
        said = answered_number(_claim(response, question.prompt), question.prompt)
        return values.index(said) if said in values else None
    return _by_place(len(options), response) if not _named(options, response) else None


def _named(options: Sequence[str], text: str) -> list[int]:
    """Options that occur in the text as whole words; where one option holds another, the longer one is meant."""
    text, found = f" {_words(text)} ", []
    for index, option in sorted(enumerate(options), key=lambda item: -len(item[1])):
        wanted = f" {_words(option)} "
        if wanted.strip() and wanted in text:
            text = text.replace(wanted, " \x00 ")
            found.append(index)
    return found


def _by_place(n: int, response: str) -> int | None:
    places = {int(digits) - 1 for digits in re.findall(r"\boption\s+(\d{1,2})\b", response, re.IGNORECASE)}
    ordinals = "|".join(_ORDINALS[:n])
    places |= {
        _ORDINALS.index(word.lower())
        for word in re.findall(rf"\bthe\s+({ordinals})\s+(?:option|choice|answer|one|solution)\b", response, re.IGNORECASE)
    }
    return places.pop() if len(places) == 1 and max(places) < n else None


# Free-form
_CONCLUSION = re.compile(
    r"(?:\b(?:final\s+)?answer(?:\s+is|\s*:)|\b(?:therefore|thus|hence)\b|####)[\s:,*_]*(?=\S)", re.IGNORECASE
)
_DENIED = ("not", "isnt", "wasnt", "arent", "werent", "never", "neither", "nor", "except", "without")
_TRUTH = {"yes": True, "no": False, "true": True, "false": False, "valid": True, "invalid": False}
_HEADING = re.compile(r":\**\s*$|:\*\*|\n|^\W*step\b", re.IGNORECASE)
_SHORT = 12  # words of a first paragraph that is the answer, with an explanation after it


def _claim(response: str, question: str) -> str:
    boxed = re.findall(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}", response)
    if boxed:
        return str(boxed[-1])
    *_, end = [0, *(found.end() for found in _CONCLUSION.finditer(response))]
    paragraphs = response.strip().split("\n\n")
    if end:
        tail = response[end:].strip().split("\n")[0]
    elif len(paragraphs) > 1 and len(paragraphs[0].split()) <= _SHORT and not _HEADING.search(paragraphs[0]):
        tail = paragraphs[0]
    else:
        tail = response.strip()
    bold = {text.strip() for text in re.findall(r"\*\*([^*\n]+)\*\*", tail) if not text.strip().endswith(":")}
    if len(bold) == 1 and _words(only := bold.pop()) not in _words(question):
        return only
    return tail.strip("*_ ")


def _truth(claim: str) -> str | None:
    """The first of yes, no, true, false, valid, invalid that the claim says; "not valid" says invalid."""
    said = _words(claim).split()
    for before, word in zip(["", *said], said, strict=False):
        if word in _TRUTH:
            return {"true": "false", "valid": "invalid"}.get(word, word) if before in ("not", "isnt") else word
    return None


def _holds(claim: str, target: str, question: str) -> bool:
    wanted = only_number(target)
    if wanted is not None:
        return answered_number(claim, question) == wanted
    if option := re.fullmatch(r"\(([A-Z])\)", target.strip()):
        said = re.search(r"\(([A-Z])\)|\A\W*([A-Z])(?!\w)", claim)
        return said is not None and option[1] in said.groups()
    return any(_claims(_folded(claim), _folded(form), _folded(question)) for form in _forms(target) if _folded(form))


def _forms(target: str) -> list[str]:
    """The target without an article or a remark in brackets, and with `Bush, George` the right way round."""
    text = re.sub(r"\s*\([^()]*\)\s*$", "", target) or target
    text = re.sub(r"^(?:the|an?)\s+(?=\S)", "", text, flags=re.IGNORECASE)
    parts = [part.strip() for part in text.split(",")]
    turned = len(parts) == 2 and len(text.split()) <= 4 and not re.search(r"\d", text)
    return [text, f"{parts[1]} {parts[0]}"] if turned else [text]


def _claims(claim: str, target: str, question: str) -> bool:
    """All three folded."""
    if f" {target} " not in f" {question} ":
        return _asserted_at(claim, target) >= 0
    left, either, right = question.rpartition(" or ")
    if not either:
        return f" {target} " in f" {claim} " and len(claim.split()) <= len(target.split()) + 2
    claim = claim.split(" than ")[0]
    others = right.split() if f" {target} " in f" {left} " else left.split()[::-1]
    other = next((word for word in others if word not in target.split() and word not in _ARTICLES), "")
    at, rival = _asserted_at(claim, target), _asserted_at(claim, other) if other else -1
    return at >= 0 and (rival < 0 or at < rival) and "both" not in claim.split()


_ARTICLES = ("a", "an", "the")


def _asserted_at(claim: str, text: str) -> int:
    """The word at which the claim says the text without denying it; -1 if it does not."""
    said, wanted = claim.split(), text.split()
    for i in range(len(said) - len(wanted) + 1):
        if said[i : i + len(wanted)] == wanted:
            before = [word for word in said[max(0, i - 2) : i] if word not in _ARTICLES]
            if not (before and before[-1] in _DENIED):
                return i
    return -1


def _folded(text: str) -> str:
    """Words without a plural's s, so that "goats" and "goat" are the same."""
    return " ".join(word[:-1] if len(word) > 3 and word.endswith("s") else word for word in _words(text).split())


def _words(text: str) -> str:
    """Lower-case words without accents, punctuation or LaTeX, one blank between them; a fraction stays one word."""
    text = re.sub(r"\\d?frac\{([^{}]*)\}\{([^{}]*)\}", r"\1/\2", text).replace("&", " and ")
    text = re.sub(r"\\(?:text|left|right|mathrm)\b", " ", text)
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).lower()
    return " ".join(re.sub(r"[^\w/]+", " ", re.sub(r"['`]", "", text)).split())
