"""What a revision changed, word by word."""

import re

from rapidfuzz.distance import Indel

Piece = tuple[str, str]  # ("=", "-" or "+", text)


def word_diff(old: str, new: str) -> list[Piece]:
    """The fewest words to strike out and to insert. "=" and "-" pieces joined are `old`, "=" and "+" pieces `new`, exactly.

    Blanks between two changes belong to both, so that neighbouring changed words are one change.
    """
    before, after = _words(old), _words(new)
    pieces: list[Piece] = []
    struck = inserted = ""
    for code in Indel.opcodes(before, after):
        kept = "".join(before[code.src_start : code.src_end]) if code.tag == "equal" else ""
        if code.tag == "delete":
            struck += "".join(before[code.src_start : code.src_end])
        elif code.tag == "insert":
            inserted += "".join(after[code.dest_start : code.dest_end])
        elif kept.isspace() and (struck or inserted):
            struck, inserted = struck + kept, inserted + kept
        else:
            pieces += [*_change(struck, inserted), ("=", kept)]
            struck = inserted = ""
    return pieces + _change(struck, inserted)


def similarity(old: str, new: str) -> float:
    """Share of words in common, in order: 1 for equal texts, 0 for texts without a common word."""
    return float(Indel.normalized_similarity(old.split(), new.split()))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|\s+|[^\w\s]", text)


def _change(struck: str, inserted: str) -> list[Piece]:
    """A blank both sides end with was kept after all."""
    tail = ""
    while struck and inserted and struck[-1] == inserted[-1] and struck[-1].isspace():
        struck, inserted, tail = struck[:-1], inserted[:-1], struck[-1] + tail
    return [piece for piece in (("-", struck), ("+", inserted), ("=", tail)) if piece[1]]
