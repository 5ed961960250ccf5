"""Pairs: one row per (chosen, rejected), whoever preferred it, or of one side alone.

What is said of a side that is missing, or of both where one is, is null, and a contract on a null is not looked at.
"""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from data_contracts.contrast import contrast, there
from data_contracts.suites.columns import (
    Counts,
    control_token_counts,
    conversations,
    copies,
    decodes_differently,
    garbled_counts,
    misplaced_eos,
    prompt_columns,
    text_sizes,
    token_counts,
)
from data_contracts.suites.contract import FORGED, GARBLED, TOO_LONG, TWICE, Contract, Limits, mean_within, per_row
from data_contracts.suites.measures import other_language, surface_accuracy
from data_contracts.suites.near_copies import nearly_repeats
from data_contracts.suites.prompt import prompt_contracts
from data_contracts.suites.prompts import IN_EVALUATION, hit_of
from data_contracts.suites.prompts import evidence as evidence  # pairs carry their prompts

ID = "pair_id"


def derive(frame: pd.DataFrame, limits: Limits) -> pd.DataFrame:
    """The numbers that the contracts below look at, one row per pair."""
    prompt = prompt_columns(frame, limits)
    columns: dict[str, Any] = dict(prompt)
    sides = {side: there(frame, side) for side in ("chosen", "rejected")}
    for side, here in sides.items():
        text, ids = frame[side], frame[f"{side}_ids"]
        found = {
            f"{side}_size": text_sizes(text, ids),
            f"{side}_total_tokens": prompt["prompt_tokens"] + token_counts(ids),
            f"{side}_garbled": garbled_counts(text),
            f"{side}_spelt_differently": decodes_differently(text, ids, limits.codec),
            f"{side}_misplaced_eos": misplaced_eos(ids, frame[f"{side}_stopped"], limits.end_ids),
            f"{side}_control_tokens": control_token_counts(text, ids, limits.control_tokens, limits.control_ids, limits.end_ids),
        }
        columns |= {name: _where(values, here) for name, values in found.items()}
    columns["in_evaluation"] = [int(hit_of(p, limits) is not None) for p in conversations(frame["prompt"])]
    columns["answers"] = sum(here.astype(int) for here in sides.values())
    both = sides["chosen"] & sides["rejected"]
    rows = contrast(frame)
    columns |= _repetitions(frame, both) | {str(name): rows[name] for name in rows}
    columns["log_length_ratio"] = np.log(rows["length_ratio"])
    return pd.DataFrame(columns, index=frame.index)


def _where(values: Any, here: "pd.Series[bool]") -> Any:
    return values if here.all() else np.where(here, values, np.nan)


def _repetitions(frame: pd.DataFrame, both: "pd.Series[bool]") -> dict[str, Any]:
    chosen, rejected = (frame[side].astype(object).where(frame[side].notna(), None).tolist() for side in ("chosen", "rejected"))
    keys = list(zip(conversations(frame["prompt"]), chosen, rejected, strict=True))
    seen: Counter[Any] = Counter()
    earlier: Counts = np.zeros(len(keys), dtype=np.int64)
    for i, key in enumerate(keys):
        earlier[i] = seen[key]
        seen[key] += 1
    same = [_plain(c) == _plain(r) for c, r in zip(chosen, rejected, strict=True)]
    return {
        "same_answers": _where(np.array(same, dtype=np.int64), both),
        "earlier_copies": earlier,
        # a pair of equal answers is its own reverse, and is already told by same_answers; of a side alone the reverse is the same
        # answer as the other side
        "contradictions": np.array([seen[(p, r, c)] if c != r else 0 for p, c, r in keys], dtype=np.int64),
        "nearly_repeated": nearly_repeats([f"{p[-1][1] if p else ''} {c or ''} {r or ''}" for p, c, r in keys]),
        "rows_with_this_id": copies(frame[ID].tolist()),
    }


def _plain(text: str | None) -> str:
    return " ".join((text or "").casefold().split())


def nullable(checks: pd.DataFrame) -> list[str]:
    """The columns that say something of a side or of both: null where that is missing."""
    always = ("prompt_", "in_evaluation", "answers", "earlier_copies", "contradictions", "nearly_repeated", "rows_with_this_id")
    return [name for name in map(str, checks) if not name.startswith(always)]


def contracts(limits: Limits) -> list[Contract]:
    clean = [IN_EVALUATION] if limits.evaluation else []
    return [*prompt_contracts(limits), *clean, *_side(limits, "chosen"), *_side(limits, "rejected"), *_PAIR, *_TOGETHER]


def _side(limits: Limits, side: str) -> list[Contract]:
    contracts = [
        per_row(f"{side}_not_empty", "Each side needs at least one token to learn from.", f"{side}_size", low=1),
        per_row(f"{side}_fits_context", TOO_LONG, f"{side}_total_tokens", high=limits.max_tokens),
        per_row(
            f"{side}_eos_iff_stopped",
            "The end-of-sequence token stands once, at the end, exactly where the writer stopped.",
            f"{side}_misplaced_eos",
            high=0,
        ),
        per_row(f"{side}_has_no_control_tokens", FORGED, f"{side}_control_tokens", high=0),
        # a policy's own garbage is a fair rejected answer
        per_row(
            f"{side}_encoding_sane", GARBLED, f"{side}_garbled", high=0, severity="quarantine" if side == "chosen" else "warn"
        ),
    ]
    if limits.codec is None:
        return contracts
    return [
        *contracts,
        per_row(
            f"{side}_round_trip",
            "The token ids must spell the text that people and judges see.",
            f"{side}_spelt_differently",
            high=0,
        ),
    ]


_PAIR = [
    per_row("pair_has_an_answer", "A row without a chosen and a rejected answer teaches nothing.", "answers", low=1),
    per_row("answers_differ", "Answers that differ at most in case and white space prefer nothing.", "same_answers", high=0),
    per_row("pair_not_repeated", "A pair that occurs again would count twice; the first stays.", "earlier_copies", high=0),
    per_row(
        "pair_not_nearly_repeated",
        "Pairs with nine words in ten alike count almost twice; the first of each cluster is not counted.",
        "nearly_repeated",
        high=0,
        severity="warn",
    ),
    per_row(
        "pair_not_contradicted",
        "The same two answers are preferred both ways round, or one is called good and bad, so neither row can be trusted.",
        "contradictions",
        high=0,
    ),
    per_row("pair_id_unique", TWICE, "rows_with_this_id", high=1),
    per_row(
        "length_ratio_within",
        "Where one answer is more than ten times as long as the other, length drowns what was meant.",
        "length_ratio",
        low=0.1,
        high=10,
        severity="warn",
    ),
    per_row(
        "similarity_within",
        "Pairs that share too little (or too much) by the Jaccard similarity of their token sets; bounds are yours to set.",
        "token_jaccard",
        severity="off",
    ),
]
_TOGETHER = [
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
        high=0.1,
    ),
    mean_within(
        "judged_better",
        "Where a judge scored both answers, it should mostly agree that the chosen one is better.",
        "share_judged_better",
        low=0.6,
    ),
    mean_within(
        "not_trivially_separable",
        "If words and lengths alone tell chosen from rejected, the policy can learn that instead of what was meant.",
        "surface_accuracy",
        high=0.95,
    ),
    mean_within(
        "language_kept",
        "Chosen answers in another language than their prompt teach to switch languages.",
        "other_language",
        high=0.1,
    ),
]


def measure(frame: pd.DataFrame) -> dict[str, float]:
    """Figures of the clean pairs together; what the data cannot tell is left out."""
    whole = frame.dropna(subset=["chosen", "rejected"])
    scored = frame.dropna(subset=["chosen_score", "rejected_score"]) if "chosen_score" in frame else frame.iloc[:0]
    found = {
        "share_judged_better": float((scored["chosen_score"] > scored["rejected_score"]).mean()) if len(scored) else None,
        "surface_accuracy": surface_accuracy(whole),
        "other_language": other_language(frame),
    }
    return {name: value for name, value in found.items() if value is not None}
