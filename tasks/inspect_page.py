"""The inspection of pairs as one page: figures, distributions and a browser; self-contained, like the report."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from tasks import page
from tasks.charts import Series, chart
from tasks.inspect_pairs import COLUMNS, Part, cell, histograms
from tasks.pair_cards import COLUMNS as CARD_COLUMNS
from tasks.pair_cards import draw_pairs

CARDS, SIZE = 1000, 3_500_000  # cards of all kinds together, and their bytes: more would make the page slow and say nothing new
_CHARTS = {  # caption and axis
    "token_jaccard": ("Token Jaccard", "share of distinct tokens in common"),
    "character_similarity": ("Character similarity", "1 − Levenshtein distance / longer length"),
    "shared_prefix": ("Shared prefix", "share of tokens in the common beginning"),
    "length_ratio": ("Length", "log2 of chosen over rejected tokens"),
    "margin": ("Judge margin", "score of chosen less that of rejected"),
    "reference_gap": ("Reference gap", "log-probability of chosen less that of rejected (nats)"),
}


def write_page(path: Path, parts: Sequence[Part]) -> None:
    """Write the page. Whole or not at all."""
    drawn = [
        one
        for part in parts
        for one in draw_pairs(part.label, len(part.frame), partial(_rows, part), CARDS // len(parts), SIZE // len(parts))
    ]
    page.write_page(
        path,
        "inspect.html.j2",
        parts=parts,
        total=sum(len(part.frame) for part in parts),
        names=[name for name in COLUMNS if any(name in part.figures for part in parts)],
        columns=COLUMNS,
        cell=cell,
        charts=_charts(parts[:4]),
        cards=drawn,
        groups=[part.label for part in parts],
    )


def _rows(part: Part, places: Sequence[int]) -> list[dict[str, Any]]:
    some = part.frame[CARD_COLUMNS].iloc[list(places)].astype(object)
    some = some.where(some.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in some.to_dict("records")]


def _charts(parts: Sequence[Part]) -> list[tuple[str, Markup]]:
    drawn = []
    for name, (caption, axis) in _CHARTS.items():
        lines = histograms([_values(part, name) for part in parts])
        series = [Series(part.label, f"s{i + 1}", line) for i, (part, line) in enumerate(zip(parts, lines, strict=True)) if line]
        if series:
            drawn.append((caption, chart(caption, axis, "share of pairs", series)))
    return drawn


def _values(part: Part, name: str) -> "pd.Series[Any]":
    values = part.frame[name] if name in part.frame else pd.Series(dtype=float)
    return np.log2(values) if name == "length_ratio" else values
