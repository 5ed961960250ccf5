"""Pairs as a person reads them: the cards of report and inspection page, which `pages/cards.html.j2` draws."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup

from tasks.diff import similarity, word_diff
from tasks.page import cards

LONGEST_TEXT = 8000  # characters of one text on the page
ALIKE = 0.4  # less similar answers stand side by side: a diff of two different texts is confetti
COLUMNS = ["pair_id", "prompt", "chosen", "rejected", "reasoning", "margin"]


def draw_pairs(
    group: str, rows: int, read: Callable[[Sequence[int]], list[dict[str, Any]]], most: int, size: int
) -> list[Markup]:
    """Cards of at most `most` of `rows` pairs, drawn evenly and in their order, that fit into `size` bytes together.

    `read` gives the rows at some places, with COLUMNS. The same pairs give the same cards.
    """
    places = random.Random(0).sample(range(rows), min(rows, most))
    found = read(places)
    drawn = cards("pair", (card(row, group) for row in found), size)
    order = sorted(range(len(drawn)), key=places.__getitem__)
    return [drawn[i] for i in order]


def card(row: dict[str, Any], group: str) -> dict[str, Any]:
    """What the page shows of a row with COLUMNS: its texts, cut where they are endless, and what parts chosen from rejected.

    A missing side is None, and so is what would compare it.
    """
    chosen, rejected = (None if row[side] is None else cut(row[side]) for side in ("chosen", "rejected"))
    alike, length = None, 0
    if chosen is not None and rejected is not None:
        alike, length = similarity(rejected, chosen), len(chosen) - len(rejected)
    return {
        "group": group,
        "id": row["pair_id"],
        "margin": row["margin"],
        "alike": None if alike is None else round(alike, 3),
        "length": None if alike is None else length,
        "longer": "chosen" if length > 0 else "rejected" if length < 0 else "",
        "prompt": [message | {"content": cut(message["content"] or "")} for message in row["prompt"]],
        "chosen": chosen,
        "rejected": rejected,
        "reasoning": cut(row["reasoning"] or ""),
        "pieces": word_diff(rejected or "", chosen or "") if alike is not None and alike >= ALIKE else None,
    }


def cut(text: str, most: int = LONGEST_TEXT) -> str:
    more = len(text) - most
    return text if more <= 0 else f"{text[:most]} […and {more} more characters]"
