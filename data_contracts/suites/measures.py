"""Figures of all clean pairs together that no single row can show: would a reader of surfaces alone tell chosen from rejected?

Both look at a bounded, evenly spaced part of the rows, so that their cost does not grow with the data.
"""

from typing import Any

import numpy as np
import pandas as pd

_PAIRS = 2000  # read by the surface classifier; its standard error at an accuracy of one half is .011
_TEXTS = 400  # whose language is guessed, at 0.6 ms a text
_LETTERS = 60  # fewer are too few to guess a language from
_FOLDS = 5


def surface_accuracy(frame: pd.DataFrame) -> float | None:
    """Cross-validated accuracy of telling chosen from rejected by words and lengths alone; None below 50 pairs.

    A logistic regression on the difference of the two answers' hashed word counts, their log lengths, and their first and last
    characters' kinds, the sign of each pair drawn at random. Folds are whole prompts, so that no prompt helps to judge itself.
    """
    some = _spread(frame, _PAIRS)
    if len(some) < 50 or some["prompt_id"].nunique() < _FOLDS:
        return None
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_score

    words = HashingVectorizer(n_features=2**14, alternate_sign=False, token_pattern=r"\w+|[^\w\s]")
    chosen, rejected = some["chosen"].fillna("").tolist(), some["rejected"].fillna("").tolist()
    difference = hstack([words.transform(chosen) - words.transform(rejected), csr_matrix(_shape(chosen) - _shape(rejected))])
    sign = np.where(np.random.default_rng(0).random(len(some)) < 0.5, 1, -1)
    features = csr_matrix(difference.multiply(sign[:, None]))
    groups = some["prompt_id"].to_numpy()
    model = LogisticRegression(max_iter=200)
    return float(cross_val_score(model, features, sign, groups=groups, cv=GroupKFold(_FOLDS)).mean())


def _shape(texts: list[str]) -> "np.ndarray[Any, Any]":
    rows = [
        (np.log1p(len(t)), np.log1p(t.count("\n")), t[:1].isupper(), t[:1].isalpha(), t[-1:].isalnum(), "```" in t, "**" in t)
        for t in texts
    ]
    return np.array(rows, dtype=float)


def other_language(frame: pd.DataFrame) -> float | None:
    """Share of chosen answers in another language than their prompt; None where too few are long enough to tell.

    The prompt's last turn counts. A translation task answers in another language rightly, so this can only ever warn.
    """
    from py3langid.langid import classify

    asked = ["" if p is None or not len(p) else (p[-1]["content"] or "") for p in frame["prompt"]]
    answered = frame["chosen"].fillna("")
    long = np.array([_letters(a) and _letters(c) for a, c in zip(asked, answered, strict=True)], dtype=bool)
    some = _spread(frame.assign(asked=asked)[long], _TEXTS)
    if len(some) < 20:
        return None
    return float(np.mean([classify(a)[0] != classify(c)[0] for a, c in zip(some["asked"], some["chosen"], strict=True)]))


def _letters(text: str) -> bool:
    return sum(map(str.isalpha, text[: 4 * _LETTERS])) >= _LETTERS


def _spread(frame: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most `count` rows, evenly spaced."""
    return frame if len(frame) <= count else frame.iloc[np.linspace(0, len(frame) - 1, count).astype(int)]
