"""An answer made worse by known degrees, for objective spo_degree."""

import random
import re
from collections.abc import Sequence

_WORD = re.compile(r"\w+")
_SHORTEST_CONTENT_WORD = 4  # letters; numbers always count as content


def degrade(text: str, shares: Sequence[float], seed: int) -> list[str]:
    """`text` once for each share, with that share of its content words removed: a ranked list, best first.

    A later text lacks every word an earlier one lacks, so that its order of quality is known without a judge (self-supervised
    preference optimisation, arXiv 2409.17791: "gradually removing key content"; which content is key is assumed: words of four
    letters or more, and numbers). Raises ValueError unless the shares grow from above 0 to at most 1.
    """
    if not shares or any(b <= a for a, b in zip((0.0, *shares), shares, strict=False)) or shares[-1] > 1:
        raise ValueError(f"shares must grow from above 0 to at most 1, not {list(shares)}")
    spans = [m.span() for m in _WORD.finditer(text) if m[0].isdigit() or len(m[0]) >= _SHORTEST_CONTENT_WORD]
    random.Random(seed).shuffle(spans)
    return [_without(text, spans[: round(share * len(spans))]) for share in shares]


def _without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    for start, end in sorted(spans, reverse=True):
        text = text[:start] + text[end:]
    return re.sub(r"[^\S\n]+", " ", text).strip()
