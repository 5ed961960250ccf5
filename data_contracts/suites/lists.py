"""Lists: one row per prompt with all its answers, the best first."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from data_contracts.suites.columns import (
    Counts,
    control_token_counts,
    copies,
    misplaced_eos,
    prompt_columns,
    text_sizes,
    token_counts,
)
from data_contracts.suites.contract import FORGED, TOO_LONG, TWICE, Contract, Limits, per_row
from data_contracts.suites.prompt import prompt_contracts

ID = "list_id"


def derive(frame: pd.DataFrame, limits: Limits) -> pd.DataFrame:
    """The numbers that the contracts below look at, one row per list."""
    prompt = prompt_columns(frame, limits)
    sizes: Counts = np.array([len(a) for a in frame["answers"]], dtype=np.int64)
    row_of: Counts = np.repeat(np.arange(len(frame)), sizes)
    texts = pd.Series([text or "" for answers in frame["answers"] for text in answers], dtype=object)
    ids = pd.Series([list(i) for answers in frame["answer_ids"] for i in answers], dtype=object)
    stopped = pd.Series([bool(s) for answers in frame["stopped"] for s in answers], dtype=bool)
    controls = control_token_counts(texts, ids, limits.control_tokens, limits.control_ids, limits.end_ids)

    def per_list(values: Any, how: str) -> Any:
        return pd.Series(values).groupby(row_of).agg(how).reindex(range(len(frame)), fill_value=0).to_numpy(dtype=np.int64)

    columns: dict[str, Any] = dict(prompt) | {
        "answers": sizes,
        "different_answers": [len({" ".join(t.split()) for t in answers}) for answers in frame["answers"]],
        "smallest_answer": per_list(text_sizes(texts, ids), "min"),
        "longest_total_tokens": prompt["prompt_tokens"] + per_list(token_counts(ids), "max"),
        "misplaced_eos": per_list(misplaced_eos(ids, stopped, limits.end_ids), "sum"),
        "answer_control_tokens": per_list(controls, "sum"),
        "scores_out_of_order": [_rises(s) for s in frame["scores"]],
        "scores_not_numbers": [0 if s is None else int(sum(not 0 <= v <= 1 for v in s)) for s in frame["scores"]],
        "rows_with_this_id": copies(frame[ID].tolist()),
    }
    return pd.DataFrame(columns, index=frame.index)


def _rises(scores: Any) -> int:
    return 0 if scores is None else int(sum(b > a for a, b in pairwise(scores)))


def contracts(limits: Limits) -> list[Contract]:
    return [
        *prompt_contracts(limits),
        per_row("two_answers_at_least", "A single answer cannot be ranked.", "answers", low=2),
        per_row("list_answers_differ", "A list of one answer several times prefers nothing.", "different_answers", low=2),
        per_row("answers_not_empty", "Every answer needs at least one token to learn from.", "smallest_answer", low=1),
        per_row("answers_fit_context", TOO_LONG, "longest_total_tokens", high=limits.max_tokens),
        per_row(
            "answers_eos_iff_stopped",
            "The end-of-sequence token stands once, at the end, exactly where the writer stopped.",
            "misplaced_eos",
            high=0,
        ),
        per_row("answers_have_no_control_tokens", FORGED, "answer_control_tokens", high=0),
        per_row("best_first", "Objectives take the first answer for the best one.", "scores_out_of_order", high=0),
        per_row("scores_are_shares", "Gains and rewards are made for scores in 0..1.", "scores_not_numbers", high=0),
        per_row("list_id_unique", TWICE, "rows_with_this_id", high=1),
    ]
