"""A row of the "pairs" dataset from two answers, and what every method is given and gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from data_contracts.config_pairs import Method
from data_contracts.store import Row, Rows
from tasks.comparison import margin

Made = tuple[Rows, Row]  # pairs and facts


@dataclass(frozen=True)
class Given:
    """`rows` of the datasets that the method reads, in the order it names them.

    Sides in `alone` are kept by themselves where a prompt has good answers only, or bad ones only (models.objectives.one_sided).
    """

    method: Method
    rows: Sequence[Rows]
    policy: str  # hash of the checkpoint that will be aligned on the pairs
    initial: str  # and of the one that the run began with
    round: int
    seed: int
    alone: tuple[str, ...] = ()


def pair_row(given: Given, name: str, chosen: Row | None, rejected: Row | None, **known: Any) -> Row:
    """One pair of two answers, rows like those of the "samples" dataset, or a good or a bad answer alone.

    `known` adds or replaces columns.

    Raises KeyError for an answer without text, ids, stopped or policy.
    """
    one = rejected or chosen or {}
    row = {"pair_id": f"{name}/{given.method.name}"} | {part: one[part] for part in ("prompt_id", "prompt", "prompt_ids")}
    for side, answer, policy in (("chosen", chosen, "chosen_policy"), ("rejected", rejected, "policy")):
        parts = {side: "text", f"{side}_ids": "token_ids", f"{side}_stopped": "stopped", policy: "policy"}
        row |= {column: None if answer is None else answer[part] for column, part in parts.items()}
    row |= {
        "method": given.method.name,
        "margin": margin(known.get("chosen_score"), known.get("rejected_score")),
        "reasoning": "",
        "round": given.round,
    }
    return row | {"on_policy": is_on_policy(row, given.policy)} | known


def is_on_policy(pair: Row, policy: str) -> bool:
    """Whether the checkpoint with the hash `policy` wrote every answer of the pair."""
    sides = (("chosen_ids", "chosen_policy"), ("rejected_ids", "policy"))
    return all(pair[writer] == policy for ids, writer in sides if pair[ids] is not None)
