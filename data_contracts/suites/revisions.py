"""Revisions: one row per sample, with the teacher's improved answer or the reason why there is none.

A revision equal to the original is no defect: it makes no pair, and the pair stage counts it. Where there is no revision at
all, only `revision_parsed` is broken; the other contracts have nothing to look at.
"""

import numpy as np
import pandas as pd

from data_contracts.suites.columns import (
    control_token_counts,
    conversations,
    copies,
    garbled_counts,
    misplaced_eos,
    text_sizes,
    token_counts,
)
from data_contracts.suites.contract import FORGED, GARBLED, TOO_LONG, TWICE, Contract, Limits, per_row
from data_contracts.suites.leak import leaks

ID = "sample_id"


def derive(frame: pd.DataFrame, limits: Limits) -> pd.DataFrame:
    """The numbers that the contracts below look at, one row per revision."""
    text, ids = frame["revision"], frame["revision_ids"]
    parsed = (text.notna() & frame["failure"].isna()).to_numpy(dtype=bool)
    tasks = ("\n".join(content for _, content in prompt) for prompt in conversations(frame["prompt"]))
    leaked = [
        ok and leaks(revision, task, original)
        for ok, revision, task, original in zip(parsed, text, tasks, frame["text"], strict=True)
    ]
    complete = pd.Series(True, index=frame.index)
    return pd.DataFrame(
        {
            "revision_is_there": parsed.astype(int),
            "revision_size": np.where(parsed, text_sizes(text, ids), 1),
            "revision_leaks": np.array(leaked, dtype=int),
            "revision_control_tokens": np.where(
                parsed,
                control_token_counts(text, ids, limits.control_tokens, limits.control_ids, limits.end_ids),
                0,
            ),
            "revision_garbled": np.where(parsed, garbled_counts(text), 0),
            "revision_misplaced_eos": np.where(parsed, misplaced_eos(ids, complete, limits.end_ids), 0),
            "total_tokens": np.where(parsed, token_counts(frame["prompt_ids"]) + token_counts(ids), 0),
            "rows_with_this_id": copies(frame[ID].tolist()),
        },
        index=frame.index,
    )


def contracts(limits: Limits) -> list[Contract]:
    return [
        per_row("revision_parsed", "The teacher's reply could not be read; `failure` says why.", "revision_is_there", low=1),
        per_row("revision_not_empty", "An empty revision would teach the policy to say nothing.", "revision_size", low=1),
        per_row(
            "revision_does_not_leak",
            "A revision that mentions the student or its own correction teaches the policy to do so unasked.",
            "revision_leaks",
            high=0,
        ),
        per_row("revision_has_no_control_tokens", FORGED, "revision_control_tokens", high=0),
        per_row("revision_encoding_sane", GARBLED, "revision_garbled", high=0),
        per_row(
            "revision_ends_with_eos",
            "A revision is a complete answer: one end-of-sequence token, at its end.",
            "revision_misplaced_eos",
            high=0,
        ),
        per_row("revision_fits_context", TOO_LONG, "total_tokens", high=limits.max_tokens),
        per_row("sample_id_unique", TWICE, "rows_with_this_id", high=1),
    ]
