"""Pairs whose order is known beforehand: one model is taken to be better than another, and nobody judges."""

from collections.abc import Sequence

from data_contracts.store import Row
from tasks.comparison import is_same, is_whole
from tasks.pair.rows import Given, Made, pair_row


def stronger_preferred(given: Given) -> Made:
    """The stronger model's own answer is chosen, the policy's rejected (arXiv 2408.06266, equation 4)."""
    samples, answers = given.rows
    return _pairs(given, answers, samples)


def delta(given: Given) -> Made:
    """The stronger model's answer (index 0) is chosen, the weaker one's (index 1) rejected (arXiv 2507.06187)."""
    (answers,) = given.rows
    return _pairs(given, [a for a in answers if a["index"] == 0], [a for a in answers if a["index"] == 1])


def recorded(given: Given) -> Made:
    """Pairs from a file as they stand, or turned round where its probability says that the other answer is the better one.

    Facts: pairs turned round (`turned`), and those left out because a probability of one half prefers nothing (`undecided`).
    """
    (rows,) = given.rows
    decided = [row for row in rows if row["win_probability"] != 0.5]
    wrong = [row["win_probability"] is not None and row["win_probability"] < 0.5 for row in decided]
    pairs = [(_turned(row) if is_wrong else row) | {"round": given.round} for row, is_wrong in zip(decided, wrong, strict=True)]
    one_sided = sum(not is_whole(row) for row in pairs)
    facts = {"pairs": len(pairs) - one_sided, "turned": sum(wrong), "undecided": len(rows) - len(decided)}
    return pairs, facts | ({"one_sided": one_sided} if one_sided else {})


def _turned(pair: Row) -> Row:
    swapped = {"chosen_policy": pair["policy"], "policy": pair["chosen_policy"], "win_probability": 1 - pair["win_probability"]}
    for side, other in (("chosen", "rejected"), ("rejected", "chosen")):
        swapped |= {f"{side}{part}": pair[f"{other}{part}"] for part in ("", "_ids", "_stopped")}
        swapped[f"{side}_score"] = pair.get(f"{other}_score")
    return pair | swapped | {"margin": None if pair.get("margin") is None else -pair["margin"]}


def _pairs(given: Given, better: Sequence[Row], worse: Sequence[Row]) -> Made:
    """One pair a prompt.

    Facts: prompts whose two answers are the same (`unchanged`), and that only one model answered (`single`), of how many that one
    makes a row alone (`one_sided`).
    """
    chosen, rejected = ({row["prompt_id"]: row for row in rows} for rows in (better, worse))
    both = [id_ for id_ in rejected if id_ in chosen]
    kept = [id_ for id_ in both if not is_same(chosen[id_]["text"], rejected[id_]["text"])]
    pairs = [pair_row(given, id_, chosen[id_], rejected[id_]) for id_ in kept]
    single = [
        *(("chosen", id_) for id_ in chosen if id_ not in rejected),
        *(("rejected", id_) for id_ in rejected if id_ not in chosen),
    ]
    alone = [pair_row(given, id_, chosen.get(id_), rejected.get(id_)) for side, id_ in single if side in given.alone]
    facts = {"pairs": len(pairs), "unchanged": len(both) - len(kept), "single": len(single)}
    return pairs + alone, facts | ({"one_sided": len(alone)} if alone else {})
