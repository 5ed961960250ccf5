"""Samples: one row per answer of the policy, as the engine gave it."""

import pandas as pd

from data_contracts.suites.columns import (
    control_token_counts,
    copies,
    garbled_counts,
    misplaced_eos,
    prompt_columns,
    text_sizes,
    token_counts,
)
from data_contracts.suites.contract import FORGED, GARBLED, TOO_LONG, TWICE, Contract, Limits, per_row
from data_contracts.suites.prompt import prompt_contracts

ID = "sample_id"


def derive(frame: pd.DataFrame, limits: Limits) -> pd.DataFrame:
    """The numbers that the contracts below look at, one row per sample."""
    ids, stopped = frame["token_ids"], frame["stopped"]
    prompt = prompt_columns(frame, limits)
    return pd.DataFrame(
        prompt
        | {
            "answer_size": text_sizes(frame["text"], ids),
            "answer_control_tokens": control_token_counts(
                frame["text"], ids, limits.control_tokens, limits.control_ids, limits.end_ids
            ),
            "answer_garbled": garbled_counts(frame["text"]),
            "answer_misplaced_eos": misplaced_eos(ids, stopped, limits.end_ids),
            "answer_stopped": stopped.to_numpy(dtype=int),
            "total_tokens": prompt["prompt_tokens"] + token_counts(ids),
            "rows_with_this_id": copies(frame[ID].tolist()),
            "other_policy": (frame["policy"] != (limits.policy or "")).to_numpy(dtype=int) if limits.policy else 0,
        },
        index=frame.index,
    )


def contracts(limits: Limits) -> list[Contract]:
    return [
        *prompt_contracts(limits),
        per_row("answer_not_empty", "An empty answer is legal, but there is nothing in it to improve.", "answer_size", low=1),
        per_row("answer_has_no_control_tokens", FORGED, "answer_control_tokens", high=0),
        per_row("answer_encoding_sane", GARBLED, "answer_garbled", high=0, severity="warn"),
        per_row(
            "answer_eos_iff_stopped",
            "The end-of-sequence token stands once, at the end, exactly where the policy stopped by itself.",
            "answer_misplaced_eos",
            high=0,
        ),
        per_row("answer_complete", "An answer cut at the token limit teaches to stop in mid-sentence.", "answer_stopped", low=1),
        per_row("answer_fits_context", TOO_LONG, "total_tokens", high=limits.max_tokens),
        per_row("sample_id_unique", TWICE, "rows_with_this_id", high=1),
        per_row("answer_by_this_policy", "Answers of another checkpoint are not on-policy.", "other_policy", high=0),
    ]
