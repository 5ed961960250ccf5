"""Numbers as answers write them: digits with signs, separators and scales, or words."""

import re

_ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_ONES += ["thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
_TENS = {word: 10 * i for i, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2)}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_UNITS = {word: i for i, word in enumerate(_ONES)} | _TENS
_WORD = rf"(?:{'|'.join((*_UNITS, *_SCALES))})"
_NUMBER = re.compile(
    rf"(?P<sign>(?<![\w.)\]%])[-\u2212]\s?)?[$£€]?\s?(?<![\w.,])(?P<digits>\d[\d,]*(?:\.\d+)?|\.\d+)(?P<scale>\s(?:thousand|million|billion|trillion)\b)?"
    rf"|\b(?P<words>(?:{_WORD})(?:(?:-|\s(?:and\s)?){_WORD})*)\b",
    re.IGNORECASE,
)
_ALONE = re.compile(r"[\s$£€%.]*")


def find_numbers(text: str) -> list[tuple[int, int, float, bool]]:
    """Where each number begins and ends, its value, and whether it is written in digits."""
    found = []
    for match in _NUMBER.finditer(text):
        if match["words"]:
            found.append((match.start(), match.end(), _spelled(match["words"].lower()), False))
        else:
            value = float(match["digits"].replace(",", "")) * _SCALES.get((match["scale"] or "").strip().lower(), 1)
            found.append((match.start(), match.end(), -value if match["sign"] else value, True))
    return found


def only_number(text: str) -> float | None:
    """The number that the text is, with at most a currency or per cent sign; None if it is anything else."""
    found = find_numbers(text)
    if len(found) != 1:
        return None
    begin, end, value, _ = found[0]
    return value if _ALONE.fullmatch(text[:begin]) and _ALONE.fullmatch(text[end:]) else None


def answered_number(claim: str, question: str) -> float | None:
    """The number a claim answers with: after its last "=", before the unit that was asked for, else its last one.

    Of several before the unit the first is meant ("32 years, with an option for five more years"); digits go before words.
    """
    if "=" in claim and (after := find_numbers(claim.rsplit("=", 1)[1])):
        return after[0][2]
    found = find_numbers(claim)
    asked = re.search(r"\bhow (?:many|much)(?: (?:more|fewer|less|total|other|of the))* ([a-z]{3,})", question, re.IGNORECASE)
    if asked:
        unit = asked[1].lower().rstrip("s")
        unit = r"(?:%|\W?per\s?cent)" if unit.startswith("percent") else rf"(?:(?:more|fewer|less|total)\s)?{re.escape(unit)}"
        named = [value for _, end, value, _ in found if re.match(rf"[\s*]*{unit}", claim[end : end + 60], re.IGNORECASE)]
        if named:
            return named[0]
    digits = [value for _, _, value, in_digits in found if in_digits] or [value for _, _, value, _ in found]
    return digits[-1] if digits else None


def _spelled(text: str) -> float:
    """`two hundred and five` is 205; each scale multiplies what stands before it."""
    total = group = 0
    for word in re.split(r"[-\s]+", text):
        if word in _UNITS:
            group += _UNITS[word]
        elif word == "hundred":
            group = max(group, 1) * 100
        elif word in _SCALES:
            total, group = total + max(group, 1) * _SCALES[word], 0
    return float(total + group)
