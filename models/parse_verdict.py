"""Read a judge's verdict: `{preferred}: A`, `B` or `tie`. Pure; where the reply leaves doubt it is "unparsed", never a guess."""

import re

from models.prompts.identifiers import FLAGS, braced

# surest first: before a colon, at the start of a line, the bare word as a heading
_MARKS = [
    re.compile(pattern, FLAGS | re.MULTILINE)
    for pattern in (
        braced("preferred") + r"[ \t*_`]*:(?P<said>\s*[^\n]*)",
        r"^[ \t*_`#]*" + braced("preferred") + r"(?P<said>\s*[^\n]*)",
        r"^[ \t]*(?:\#{1,6}[ \t]*)?(?:\*\*|__)?preferred(?:\*\*|__)?[ \t]*:(?P<said>\s*[^\n]*)",
    )
]
_TIE = re.compile(r"\W*(?:(?:it is |it['’]s )?an? )?(?:exact )?tie\b(?!\s*[|/,]|\s+or\b)", re.IGNORECASE)
_LETTER = re.compile(r"\W*(?:(?:the )?(?:answer|solution|response|option) )?\W*([AB])\b", re.IGNORECASE)
_THOUGHTS = re.compile(r"\A\s*(?:<think(?:ing)?>)?.*</think(?:ing)?>|\A\s*<think(?:ing)?>.*\Z", re.DOTALL | re.IGNORECASE)
_OTHER = re.compile(r"\b[AB]\b|\b[Tt]ie\b")


def parse_verdict(raw: str) -> str:
    """The verdict "first", "second" or "tie", else "unparsed".

    A verdict given twice counts if both say the same; the form quoted from the prompt ("A|B|tie") is passed over.
    What a reasoning model thinks aloud is not part of its verdict.
    """
    raw = without_thoughts(raw)
    for mark in _MARKS:
        if said := [m["said"] for m in mark.finditer(raw)]:
            verdicts = {_read(s) for s in said} - {"unparsed"}
            return verdicts.pop() if len(verdicts) == 1 else "unparsed"
    return "unparsed"


def without_thoughts(raw: str) -> str:
    """The reply after `<think>…</think>`; nothing where the thinking never ended.

    The opening mark may be missing: some chat templates write it themselves.
    """
    return _THOUGHTS.sub("", raw, count=1).strip()


def _read(said: str) -> str:
    if _TIE.match(said):
        return "tie"
    letter = _LETTER.match(said)
    if letter is None:
        return "unparsed"
    rest = said[letter.end() :]
    # a small letter may be a word of a sentence, and "A|B|tie" or "A and B are equal" prefers neither
    if _OTHER.search(rest) or (letter[1].islower() and re.search(r"\w", rest)):
        return "unparsed"
    return "first" if letter[1].upper() == "A" else "second"
