"""Near copies: rows whose words are almost those of an earlier row (MinHash with banding, by rensa)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from data_contracts.overlap import PERMUTATIONS, sketch_of
from data_contracts.suites.columns import Counts

SIMILAR = 0.9  # estimated Jaccard similarity of word 3-grams
_BANDS = 16  # of eight hashes: a pair at .9 is found with probability .9998
_FEWEST = 20  # words: shorter texts repeat by nature


def nearly_repeats(texts: Sequence[str]) -> Counts:
    """1 where a text is at least `SIMILAR` to an earlier one that itself is 0; texts of fewer than 20 words are not looked at."""
    from rensa import RMinHashLSH

    index = RMinHashLSH(threshold=SIMILAR, num_perm=PERMUTATIONS, num_bands=_BANDS)
    sketches: dict[int, Any] = {}
    repeats: Counts = np.zeros(len(texts), dtype=np.int64)
    for row, text in enumerate(texts):
        words = text.casefold().split()
        if len(words) < _FEWEST:
            continue
        sketch = sketch_of(words)
        repeats[row] = any(sketch.jaccard(sketches[other]) >= SIMILAR for other in index.query(sketch))
        if not repeats[row]:
            index.insert(row, sketch)
            sketches[row] = sketch
    return repeats
