"""Prompts: one row per conversation to answer. What stands in an evaluation set must not be trained on."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from data_contracts.overlap import Hit
from data_contracts.suites.columns import conversations, copies, turns_out_of_order
from data_contracts.suites.contract import TWICE, Contract, Limits, per_row

ID = "prompt_id"
IN_EVALUATION = per_row(
    "prompt_not_in_evaluation", "Whoever trains on a question of the evaluation measures memory.", "in_evaluation", high=0
)


def derive(frame: pd.DataFrame, limits: Limits) -> pd.DataFrame:
    """The numbers that the contracts below look at, one row per prompt."""
    prompts = conversations(frame["prompt"])
    sizes: Sequence[int | None] = [0] * len(frame)
    if limits.codec and limits.engine_tokens:
        sizes = limits.codec.prompt_sizes(frame["prompt"].tolist())
    return pd.DataFrame(
        {
            "refused_by_template": [int(size is None) for size in sizes],
            "tokens_to_ask": [size or 0 for size in sizes],
            "turns_out_of_order": [turns_out_of_order(p) for p in prompts],
            "empty_turns": [sum(not content.strip() for _, content in p) for p in prompts],
            "rows_with_this_prompt": copies(prompts),
            "rows_with_this_id": copies(frame[ID].tolist()),
            "in_evaluation": [int(hit_of(p, limits) is not None) for p in prompts],
        },
        index=frame.index,
    )


def contracts(limits: Limits) -> list[Contract]:
    contracts = [
        per_row("conversation_alternates", "Turns are user, assistant, user, … to the user's.", "turns_out_of_order", high=0),
        per_row("conversation_has_text", "A turn without text is a hole in the conversation.", "empty_turns", high=0),
        per_row("prompt_id_unique", TWICE, "rows_with_this_id", high=1),
        per_row(
            "prompt_asked_once", "A prompt that is asked again counts twice.", "rows_with_this_prompt", high=1, severity="warn"
        ),
    ]
    if limits.codec and limits.engine_tokens:
        most = min(limits.engine_tokens, limits.max_tokens) - 1
        contracts += [
            per_row(
                "template_takes_prompt",
                "The policy's chat template refuses the conversation (a system message, say), so nobody can be asked.",
                "refused_by_template",
                high=0,
            ),
            per_row(
                "prompt_leaves_room",
                "Prompt and answer share engine.max_model_len and validate.max_tokens: this prompt alone fills one of them.",
                "tokens_to_ask",
                high=most,
            ),
        ]
    if limits.evaluation is None:
        return contracts
    return [*contracts, IN_EVALUATION]


def evidence(frame: pd.DataFrame, limits: Limits) -> list[dict[str, Any]]:
    """Each prompt that stands in an evaluation set, with the text it was found in."""
    found = []
    for id_, prompt in zip(frame[ID], conversations(frame["prompt"]), strict=True):
        hit = hit_of(prompt, limits)
        if hit:
            found.append({"prompt_id": id_, "prompt": prompt[-1][1], **asdict(hit)})
    return found


def hit_of(prompt: tuple[tuple[str, str], ...], limits: Limits) -> Hit | None:
    """The user's last turn is looked at, and all turns together: a question may be spread over them."""
    if limits.evaluation is None or not prompt:
        return None
    return limits.evaluation.hit(prompt[-1][1]) or limits.evaluation.hit(" ".join(content for _, content in prompt))
