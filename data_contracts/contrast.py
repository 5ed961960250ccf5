"""How far the two answers of a pair differ, and in what: the figures that gate, report, MLflow and `plumbline inspect` share.

CLAIR (arXiv 2408.06266, section 3 and table 1) calls pairs contrastive that differ little and only where it matters: a high
token Jaccard, a low Levenshtein distance. An answer's end-of-sequence token is left out: it is in every complete answer.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_NEAR_IDENTICAL = 0.98  # character similarity
_MEANS = ("token_jaccard", "character_edits", "character_similarity", "shared_prefix", "chosen_longer", "near_identical")


def contrast(frame: "pd.DataFrame") -> "pd.DataFrame":
    """One row a pair of `frame`, which has the columns chosen/rejected, their `_ids` and `_stopped`.

    Where a side is missing (neither text nor ids) all is null but the other side's length; a null of its parts counts as empty.

    - `token_jaccard`: distinct tokens that both have, over those that either has; 1 for two empty answers
    - `character_edits`: Levenshtein distance in characters, and `character_similarity`: 1 - edits / characters of the longer one
    - `shared_prefix`: share of both answers' tokens that lies in their common beginning, which the trainer computes once
    - `chosen_tokens`, `rejected_tokens`: lengths, the end-of-sequence token included; `length_ratio` the first over the second,
      each at least 1; `chosen_longer` 1 or 0, equal lengths one half
    - `near_identical`: 1 where the character similarity is at least 0.98
    """
    import numpy as np
    import pandas as pd
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cpdist

    texts = [frame[side].fillna("").tolist() for side in ("chosen", "rejected")]
    ids = [_tokens(frame[f"{side}_ids"], frame[f"{side}_stopped"]) for side in ("chosen", "rejected")]
    edits = cpdist(*texts, scorer=Levenshtein.distance, dtype=np.int64) if len(frame) else np.empty(0, dtype=np.int64)
    longer = np.array([max(len(c), len(r), 1) for c, r in zip(*texts, strict=True)])
    jaccard, shared = np.empty(len(frame)), np.empty(len(frame))
    for i, (chosen, rejected) in enumerate(zip(*ids, strict=True)):
        one, other = set(chosen), set(rejected)
        either = len(one | other)
        jaccard[i] = len(one & other) / either if either else 1.0
        total = len(chosen) + len(rejected)
        shared[i] = 2 * _common(chosen, rejected) / total if total else 1.0
    found = pd.DataFrame(
        {
            "token_jaccard": jaccard,
            "character_edits": edits,
            "character_similarity": 1 - edits / longer,
            "shared_prefix": shared,
        },
        index=frame.index,
    )
    sides = {side: there(frame, side) for side in ("chosen", "rejected")}
    whole = sides["chosen"] & sides["rejected"]
    found = found if whole.all() else found.where(whole, axis=0)
    for side, here in sides.items():
        tokens = pd.Series([0 if row is None else len(row) for row in frame[f"{side}_ids"]], index=frame.index, dtype=np.int64)
        found[f"{side}_tokens"] = tokens if here.all() else tokens.where(here)
    chosen, rejected = (np.maximum(found[f"{side}_tokens"], 1) for side in sides)
    found["length_ratio"] = chosen / rejected
    found["chosen_longer"] = (np.sign(chosen - rejected) + 1) / 2
    found["near_identical"] = (found["character_similarity"] >= _NEAR_IDENTICAL).astype(float).where(whole)
    return found


def there(frame: "pd.DataFrame", side: str) -> "pd.Series[bool]":
    """Whether each row has that side of the pair: a text, or token ids."""
    return frame[side].notna() | frame[f"{side}_ids"].notna()


def summarise(rows: "pd.DataFrame") -> dict[str, float]:
    """Means over the rows of `contrast` with both sides; `length_ratio` is the geometric mean of chosen over rejected tokens.

    Nothing for no such rows. `one_sided` counts the others, where there are any.
    """
    import numpy as np

    alone = rows["token_jaccard"].isna()
    counted = {"one_sided": float(alone.sum())} if alone.any() else {}
    if alone.all():
        return counted
    rows = rows[~alone]
    means = {name: float(rows[name].mean()) for name in _MEANS}
    return counted | means | {"length_ratio": float(np.exp(np.log(rows["length_ratio"]).mean()))}


def _tokens(ids: "pd.Series[Any]", stopped: "pd.Series[bool]") -> list[list[int]]:
    rows = ([] if row is None else list(row) for row in _lists(ids))
    return [row[:-1] if ended else row for row, ended in zip(rows, stopped, strict=True)]


def _lists(ids: "pd.Series[Any]") -> list[list[int] | None]:
    """Numpy rows as plain lists, whose integers are far quicker to put into a set."""
    return [row.tolist() if hasattr(row, "tolist") else row for row in ids]


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens that both begin with, by halving: one comparison of slices instead of one a token."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low
