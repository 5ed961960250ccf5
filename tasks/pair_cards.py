"""Pairs as a person reads them: the cards of report and inspection page, which `pair_cards.html.j2` draws."""

from typing import Any

from tasks.diff import similarity, word_diff

LONGEST_TEXT = 8000  # characters of one text on the page
ALIKE = 0.4  # less similar answers stand side by side: a diff of two different texts is confetti
COLUMNS = ["pair_id", "prompt", "chosen", "rejected", "reasoning", "margin"]


def card(row: dict[str, Any], group: str) -> dict[str, Any]:
    """What the page shows of a row with COLUMNS: its texts, cut where they are endless, and what parts chosen from rejected."""
    chosen, rejected = cut(row["chosen"] or ""), cut(row["rejected"] or "")
    alike = similarity(rejected, chosen)
    return {
        "group": group,
        "id": row["pair_id"],
        "margin": row["margin"],
        "alike": round(alike, 3),
        "length": len(chosen) - len(rejected),
        "prompt": [message | {"content": cut(message["content"] or "")} for message in row["prompt"]],
        "chosen": chosen,
        "rejected": rejected,
        "reasoning": cut(row["reasoning"] or ""),
        "pieces": word_diff(rejected, chosen) if alike >= ALIKE else None,
    }


def cut(text: str) -> str:
    more = len(text) - LONGEST_TEXT
    return text if more <= 0 else f"{text[:LONGEST_TEXT]} […and {more} more characters]"
