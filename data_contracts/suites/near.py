"""Near copies: rows whose words are almost those of an earlier row (MinHash with banding, by rensa)."""

from collections.abc import Sequence

import numpy as np

from data_contracts.suites.columns import Counts

SIMILAR = 0.9  # estimated Jaccard similarity of word 3-grams
_PERMUTATIONS, _BANDS = 128, 16  # bands of 8: a pair at .9 is found with probability .9998
_GRAM, _FEWEST = 3, 20  # texts of fewer words repeat by nature


def nearly_repeats(texts: Sequence[str]) -> Counts:
    """1 where a text is at least `SIMILAR` to an earlier one that itself is 0; texts of fewer than 20 words are not looked at."""
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(threshold=SIMILAR, num_perm=_PERMUTATIONS, num_bands=_BANDS)
    sketches: dict[int, RMinHash] = {}
    repeats: Counts = np.zeros(len(texts), dtype=np.int64)
    for row, text in enumerate(texts):
        words = text.casefold().split()
        if len(words) < _FEWEST:
            continue
        sketch = RMinHash(num_perm=_PERMUTATIONS, seed=1)
        sketch.update([" ".join(words[i : i + _GRAM]) for i in range(len(words) - _GRAM + 1)])
        repeats[row] = any(sketch.jaccard(sketches[other]) >= SIMILAR for other in index.query(sketch))
        if not repeats[row]:
            index.insert(row, sketch)
            sketches[row] = sketch
    return repeats
