"""Does a training prompt stand in an evaluation set? Equal text, a long run of equal words, or almost the same words.

Thirteen equal words in a row is what GPT-3's authors took for contamination (arXiv 2005.14165, appendix C); MinHash finds what
was reworded a little. Texts are compared without case, punctuation and white space.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["equal", "run", "similar"]
PERMUTATIONS, _GRAM = 128, 3
_BANDS = 64  # of two hashes: even at a similarity of .3 a match is missed once in 400
_FEWEST = 8  # words; of fewer, near likeness says nothing


@dataclass(frozen=True)
class Hit:
    """`text` is the evaluation set's; `share` is 1 for equal texts, else the estimated Jaccard similarity of word 3-grams."""

    kind: Kind
    text: str
    share: float


class EvaluationTexts:
    """The texts of every evaluation set of a run, indexed. `ngram`: words of a run; `similarity`: least Jaccard similarity."""

    def __init__(self, texts: Sequence[str], ngram: int, similarity: float) -> None:
        from rensa import RMinHashLSH

        self.texts, self.ngram, self.similarity = list(dict.fromkeys(texts)), ngram, similarity
        self._equal: dict[str, int] = {}
        self._runs: dict[tuple[str, ...], int] = {}
        self._sketches: dict[int, Any] = {}
        self._index = RMinHashLSH(threshold=similarity, num_perm=PERMUTATIONS, num_bands=_BANDS)
        for i, text in enumerate(self.texts):
            words = _words(text)
            self._equal.setdefault(" ".join(words), i)
            for run in _runs(words, ngram):
                self._runs.setdefault(run, i)
            if len(words) >= _FEWEST:
                self._sketches[i] = sketch_of(words)
                self._index.insert(i, self._sketches[i])

    def hit(self, text: str) -> Hit | None:
        """The strongest sign that `text` stands in an evaluation set, or None."""
        words = _words(text)
        if not words:
            return None
        equal = self._equal.get(" ".join(words))
        if equal is not None:
            return Hit("equal", self.texts[equal], 1.0)
        run = next((self._runs[r] for r in _runs(words, self.ngram) if r in self._runs), None)
        sketch = sketch_of(words)
        if run is not None:
            other = self._sketches.get(run)
            return Hit("run", self.texts[run], float(sketch.jaccard(other)) if other else 0.0)
        if len(words) < _FEWEST:
            return None
        near = [(float(sketch.jaccard(self._sketches[i])), i) for i in self._index.query(sketch)]
        best = max(near, default=(0.0, -1))
        return Hit("similar", self.texts[best[1]], best[0]) if best[0] >= self.similarity else None


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _runs(words: list[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]


def sketch_of(words: list[str]) -> Any:
    """The MinHash of a text's word 3-grams, or of its words where they are fewer."""
    from rensa import RMinHash

    sketch = RMinHash(num_perm=PERMUTATIONS, seed=1)
    sketch.update([" ".join(run) for run in _runs(words, _GRAM)] or words)
    return sketch
