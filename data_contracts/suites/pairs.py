"""Pairs: one row per (chosen, rejected), whoever preferred it."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from data_contracts.contrast import NEAR_IDENTICAL, contrast, summarise
from data_contracts.suites.columns import (
    Counts,
    control_token_counts,
    conversations,
    copies,
    misplaced_eos,
    prompt_columns,
    text_sizes,
    token_counts,
)
from data_contracts.suites.contract import FORGED, TOO_LONG, TWICE, Limits, mean_within, per_row
from data_contracts.suites.prompt import prompt_contracts

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite
    from great_expectations.expectations import Expectation

ID = "pair_id"


def derive(frame: pd.DataFrame, limits: Limits) -> pd.DataFrame:
    """The numbers that the contracts below look at, one row per pair."""
    prompt = prompt_columns(frame, limits.bos_token_id, limits.control_tokens)
    columns: dict[str, Any] = dict(prompt)
    for side in ("chosen", "rejected"):
        text, ids = frame[side], frame[f"{side}_ids"]
        columns |= {
            f"{side}_size": text_sizes(text, ids),
            f"{side}_total_tokens": prompt["prompt_tokens"] + token_counts(ids),
            f"{side}_misplaced_eos": misplaced_eos(ids, frame[f"{side}_stopped"], limits.eos_token_id),
            f"{side}_control_tokens": control_token_counts(
                text, ids, limits.control_tokens, limits.control_ids, limits.eos_token_id
            ),
        }
    return pd.DataFrame(columns | _repetitions(frame) | _contrast(frame), index=frame.index)


def _repetitions(frame: pd.DataFrame) -> dict[str, Any]:
    chosen, rejected = frame["chosen"].fillna("").tolist(), frame["rejected"].fillna("").tolist()
    keys = list(zip(conversations(frame["prompt"]), chosen, rejected, strict=True))
    seen: Counter[Any] = Counter()
    earlier: Counts = np.zeros(len(keys), dtype=np.int64)
    for i, key in enumerate(keys):
        earlier[i] = seen[key]
        seen[key] += 1
    same = [" ".join(c.casefold().split()) == " ".join(r.casefold().split()) for c, r in zip(chosen, rejected, strict=True)]
    return {
        "same_answers": np.array(same, dtype=np.int64),
        "earlier_copies": earlier,
        # a pair of equal answers is its own reverse, and is already told by same_answers
        "contradictions": np.array([seen[(p, r, c)] if c != r else 0 for p, c, r in keys], dtype=np.int64),
        "rows_with_this_id": copies(frame[ID].tolist()),
    }


def _contrast(frame: pd.DataFrame) -> dict[str, Any]:
    rows = contrast(frame)
    chosen, rejected = (np.maximum(rows[f"{side}_tokens"].to_numpy(), 1) for side in ("chosen", "rejected"))
    return {name: rows[name] for name in rows} | {
        "near_identical": (rows["character_similarity"] >= NEAR_IDENTICAL).astype(int),
        "log_length_ratio": np.log(chosen / rejected),
        "chosen_longer": (np.sign(chosen - rejected) + 1) / 2,
    }


def suite(limits: Limits) -> "ExpectationSuite":
    from great_expectations import ExpectationSuite

    contracts = prompt_contracts(limits)
    for side in ("chosen", "rejected"):
        contracts += [
            per_row(f"{side}_not_empty", "Each side needs at least one token to learn from.", f"{side}_size", low=1),
            per_row(
                f"{side}_fits_context",
                TOO_LONG,
                f"{side}_total_tokens",
                high=limits.max_tokens,
            ),
            per_row(
                f"{side}_eos_iff_stopped",
                "The end-of-sequence token stands once, at the end, exactly where the writer stopped.",
                f"{side}_misplaced_eos",
                high=0,
            ),
            per_row(
                f"{side}_has_no_control_tokens",
                FORGED,
                f"{side}_control_tokens",
                high=0,
            ),
        ]
    contracts += [
        per_row("answers_differ", "Answers that differ at most in case and white space prefer nothing.", "same_answers", high=0),
        per_row("pair_not_repeated", "A pair that occurs again would count twice; the first stays.", "earlier_copies", high=0),
        per_row(
            "pair_not_contradicted",
            "The same two answers are preferred both ways round, so neither row can be trusted.",
            "contradictions",
            high=0,
        ),
        per_row("pair_id_unique", TWICE, "rows_with_this_id", high=1),
    ]
    return ExpectationSuite(name="pairs", expectations=contracts)


def warnings() -> list["Expectation"]:
    """On the clean rows together. Each tells of a dataset that trains, but may teach something else than was meant."""
    return [
        mean_within(
            "length_ratio_moderate",
            "Chosen answers more than twice or less than half as long as rejected ones teach length first.",
            "log_length_ratio",
            low=-float(np.log(2)),
            high=float(np.log(2)),
        ),
        mean_within(
            "length_does_not_decide",
            "Where the longer (or the shorter) answer wins nine times in ten, length alone predicts the preference.",
            "chosen_longer",
            low=0.1,
            high=0.9,
        ),
        mean_within(
            "few_near_identical",
            "Pairs that are the same but for one character in fifty carry almost no preference.",
            "near_identical",
            low=0,
            high=0.1,
        ),
    ]


def metrics(checks: pd.DataFrame) -> dict[str, float]:
    """How contrastive the pairs are: data_contracts.contrast."""
    return summarise(checks)
