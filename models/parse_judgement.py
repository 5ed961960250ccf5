"""Read what judges write beside a comparison's verdict: a score, a checklist, a ranking, a criterion. Pure and strict, as for
verdicts: where the reply leaves doubt the answer is None, never a guess. A reasoning model's thoughts are passed over."""

import re
from collections.abc import Sequence

from models.parse_verdict import without_thoughts
from models.prompts.identifiers import FLAGS, braced

LOWEST, HIGHEST = 1, 10
_COLON = r"[ \t*_`]*:[ \t*_`]*"
_SCORE = re.compile(braced("final_score") + _COLON + r"(?P<said>[^\n]*)", FLAGS)
_NUMBER = re.compile(r"(?P<number>\d{1,2})(?:[ \t]*(?:/|out of)[ \t]*10)?[ \t.*_`]*", re.IGNORECASE)
_POINT = re.compile(r"\{{1,2}[ \t]*point[ _-]?(?P<number>[0-9]{1,3})[ \t]*\}{1,2}" + _COLON + r"(?P<said>[^\n]*)", FLAGS)
_YES_NO = re.compile(r"(?P<word>yes|no)\b(?![ \t]*(?:/|\||or\b))", re.IGNORECASE)
_RANKING = re.compile(braced("final_ranking") + _COLON + r"(?P<said>[^\n]*)", FLAGS)
_PRINCIPLE = re.compile(r"^[ \t*_`\-]*" + braced("new_principle") + _COLON + r"(?P<said>[^\n]*)", FLAGS | re.MULTILINE)
_CRITERION = re.compile(braced("chosen_criterion") + _COLON + r"(?P<said>.+)", FLAGS | re.DOTALL)


def parse_score(raw: str) -> int | None:
    """The whole number from 1 to 10 after `{final_score}:`; given more than once, all must be equal."""
    said = [_NUMBER.fullmatch(m["said"].strip()) for m in _SCORE.finditer(without_thoughts(raw))]
    values = {int(s["number"]) if s else None for s in said}
    value = values.pop() if len(values) == 1 else None
    return value if value is not None and LOWEST <= value <= HIGHEST else None


def parse_checklist(raw: str, count: int) -> list[bool] | None:
    """Whether each of `count` points is met, from lines such as `{point_2}: yes - it names a source`.

    None unless every point is answered, by yes or no, without contradiction.
    """
    found: dict[int, bool] = {}
    for m in _POINT.finditer(without_thoughts(raw)):
        number, said = int(m["number"]), _YES_NO.match(m["said"])
        if said is None or not 1 <= number <= count or found.get(number, met := said["word"].lower() == "yes") is not met:
            return None
        found[number] = met
    return [found[i] for i in range(1, count + 1)] if len(found) == count else None


def parse_ranking(raw: str, labels: Sequence[str]) -> list[str] | None:
    """The `labels` from best to worst after `{final_ranking}:`, as in `B > A > C`; None unless each stands there exactly once."""
    said = {m["said"] for m in _RANKING.finditer(without_thoughts(raw))}
    if len(said) != 1:
        return None
    order = [part.strip(" \t*_`.").removeprefix("Answer ").removeprefix("answer ").upper() for part in said.pop().split(">")]
    return order if sorted(order) == sorted(labels) else None


def parse_criterion(raw: str) -> str | None:
    """The text after the last `{chosen_criterion}:`, at most 1,000 characters of it; None if there is none."""
    found = _CRITERION.search(without_thoughts(raw))
    if found is None:
        return None
    text = re.split(braced("chosen_criterion") + _COLON, found["said"], flags=FLAGS)[-1].strip()
    return text[:1000] or None


def parse_principles(raw: str) -> list[str]:
    """The text of every line `{new_principle}: …`, in order, each once; more than 500 characters are no rule."""
    said = [m["said"].strip(" \t*_`") for m in _PRINCIPLE.finditer(without_thoughts(raw))]
    return list(dict.fromkeys(text for text in said if 0 < len(text) <= 500))
