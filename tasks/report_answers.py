"""The report's answers: what the models said to the same question, beside each other, and how that changed."""

import random
from itertools import zip_longest
from typing import Any

from markupsafe import Markup

from tasks.page import cards
from tasks.pair_cards import cut
from tasks.report_scores import Answers
from tasks.run_folder import round_name

MODELS = 6  # beside each other: the start, the champion and the latest
EACH = 30  # questions of each kind
LONGEST = 1500  # characters of one answer
KINDS = ("became right", "became wrong", "back and forth", "always right", "always wrong")
CHANGED = "changed"


def draw_answers(answers: Answers, size: int, champion: int = 0) -> dict[str, Any] | None:
    """Cards of some distinct questions of each kind, drawn evenly, that fit into `size` bytes together; None for a single model.

    `kinds` counts the distinct questions of each kind, over the models that are shown.
    """
    shown = _shown(answers, champion)
    if len(shown) < 2:
        return None
    found = _by_kind(answers, shown)
    drawn: list[list[Markup]] = []
    for kind, questions in found.items():
        some = random.Random(0).sample(questions, min(len(questions), EACH))
        drawn.append(cards("answers", (question | {"kinds": _tokens(kind)} for question in some), size // len(KINDS)))
    return {
        "cards": [card for row in zip_longest(*drawn) for card in row if card],  # the first ones hold some of every kind
        "kinds": [(kind, len(questions)) for kind, questions in found.items()],
        "filters": [CHANGED, *(kind for kind in KINDS if found[kind])],
        "benchmarks": sorted({row["benchmark"] for row in answers[shown[0]]}),
        "left_out": len(answers) - len(shown),
    }


def _shown(answers: Answers, champion: int) -> list[int]:
    """The rounds whose answers are shown: the start, the champion, and the latest beside them."""
    always = {k for k in (next(iter(answers), 0), champion) if k in answers}
    latest = [k for k in answers if k not in always][-(MODELS - len(always)) :]
    return sorted([*always, *latest])


def _by_kind(answers: Answers, shown: list[int]) -> dict[str, list[dict[str, Any]]]:
    """Each distinct question that all shown models were asked, by what became of its answer."""
    by_id = {k: {row["question_id"]: row for row in answers[k]} for k in shown}
    asked: dict[str, str] = {}  # of each distinct question the id of its first row
    for row in answers[shown[0]]:
        if all(row["question_id"] in by_id[k] for k in shown):
            asked.setdefault(row["question"], row["question_id"])
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for question_id in asked.values():
        rows = [by_id[k][question_id] for k in shown]
        found[_kind([row["score"] >= 0.5 for row in rows])].append(_question(rows, [round_name(k) for k in shown]))
    return found


def _kind(right: list[bool]) -> str:
    if all(right) or not any(right):
        return "always right" if right[0] else "always wrong"
    if right[0] == right[-1]:
        return "back and forth"
    return "became right" if right[-1] else "became wrong"


def _tokens(kind: str) -> list[str]:
    return [kind] if kind.startswith("always") else [CHANGED, kind]


def _question(rows: list[dict[str, Any]], labels: list[str]) -> dict[str, Any]:
    said = [cut(row["response"], LONGEST) for row in rows]
    answers = [
        {
            "label": label,
            "text": text,
            "right": row["score"] >= 0.5,
            "unread": row["parsed"] is None,
            "same": i and text == said[i - 1],
        }
        for i, (label, row, text) in enumerate(zip(labels, rows, said, strict=True))
    ]
    return {
        "id": rows[0]["question_id"],
        "benchmark": rows[0]["benchmark"],
        "prompt": cut(rows[0]["prompt"], LONGEST),
        "answers": answers,
    }
