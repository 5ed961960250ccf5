"""The inspection of pairs as one page: figures, distributions and a browser; self-contained, like the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from tasks.charts import Series, chart
from tasks.inspect_pairs import COLUMNS, Part, cell, histograms
from tasks.page import render_page
from tasks.pair_cards import COLUMNS as CARD_COLUMNS
from tasks.pair_cards import card

CARDS = 1000  # of all kinds together: more would make the page slow and say nothing new
_CHARTS = {
    "token_jaccard": "Token Jaccard",
    "character_similarity": "Character similarity (1 - Levenshtein / length)",
    "shared_prefix": "Share of tokens in the common beginning",
    "length": "Chosen over rejected tokens, log2",
    "margin": "Judge margin",
    "reference_gap": "Reference log-ratio gap, nats",
}


def write_page(path: Path, parts: Sequence[Part]) -> None:
    """Write the page. Whole or not at all."""
    share = CARDS // len(parts)
    cards = [card(row, part.label) for part in parts for row in _spread(part, share)]
    page = render_page(
        "inspect_template.html.j2",
        parts=parts,
        total=sum(len(part.frame) for part in parts),
        names=[name for name in COLUMNS if any(name in part.figures for part in parts)],
        columns=COLUMNS,
        cell=cell,
        charts=_charts(parts[:4]),
        cards=cards,
        groups=[part.label for part in parts],
    )
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)


def _spread(part: Part, count: int) -> list[dict[str, object]]:
    frame = part.frame[CARD_COLUMNS]
    some = frame if len(frame) <= count else frame.iloc[np.linspace(0, len(frame) - 1, count).astype(int)]
    return [
        row | {"margin": None if np.isnan(margin) else margin}
        for row, margin in zip(some.to_dict("records"), some["margin"].astype(float), strict=True)
    ]


def _charts(parts: Sequence[Part]) -> list[tuple[str, Markup]]:
    drawn = []
    for name, caption in _CHARTS.items():
        lines = histograms([_values(part, name) for part in parts])
        series = [Series(part.label, f"s{i + 1}", line) for i, (part, line) in enumerate(zip(parts, lines, strict=True)) if line]
        if series:
            drawn.append((caption, chart(caption, caption, "share of pairs", series)))
    return drawn


def _values(part: Part, name: str) -> "pd.Series[Any]":
    rows = part.frame
    if name == "length":
        return np.log2(rows["chosen_tokens"].clip(lower=1) / rows["rejected_tokens"].clip(lower=1))
    return rows[name] if name in rows else pd.Series(dtype=float)
