"""Complete: what an objective looks at beside the pair itself: further answers, a changed prompt, another prompt's answer."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.store import Dataset, Row, Rows, build
from models.chat import Message, encode_prompt
from models.checkpoint import Checkpoint, load_tokenizer
from models.objectives.batch import Need
from tasks.pair.rows import is_on_policy

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# an instruction, and whether a text follows it; no text follows the first and the second both
INSTRUCTIONS = (
    ("Write your whole answer in capital letters.", lambda text: text.isupper()),
    ("Write your whole answer in small letters.", lambda text: text.islower()),
    ("Begin your answer with the word Certainly.", lambda text: text.startswith("Certainly")),
    ("Do not use the letter e.", lambda text: "e" not in text.lower()),
    ("End your answer with a question.", lambda text: text.rstrip().endswith("?")),
)
FURTHER = {Need.GOLD: "gold_ids", Need.BASE: "base_ids"}


def complete(
    folder: Path, pairs: Dataset, needs: Need, further: Dataset | None, writers: Mapping[Need, int], policy: Checkpoint, seed: int
) -> Dataset:
    """The pairs with those columns filled that `needs` asks for; pairs that have no such thing are left out and counted.

    - `gold_ids`, `base_ids`: from the samples `further`, whose rows' `index` says the writer (`writers`: need -> index);
    - `reprompt_ids`: the prompt with one further instruction, drawn from INSTRUCTIONS, that the chosen answer does not follow;
    - `rejected_prompt_ids`: the rejected answer becomes that of another prompt, which the judge scores below this pair's chosen
      one. Needs the pairs' scores.

    Facts: `pairs`, and the pairs left out by column.
    """

    def make(_work: Path) -> tuple[Rows, Row]:
        rows, left_out = pairs.records(), dict[str, int]()
        answers = {(r["index"], r["prompt_id"]): r["token_ids"] for r in further.records()} if further is not None else {}
        for need, column in FURTHER.items():
            if need in needs:
                writer = writers.get(need, -1)
                rows = [row | {column: row[column] or answers.get((writer, row["prompt_id"]))} for row in rows]
                rows, left_out[column] = _having(column, rows)
        if Need.REPROMPT in needs:
            tokenizer = load_tokenizer(policy.path)
            rows = [row | {"reprompt_ids": row["reprompt_ids"] or _changed(row, tokenizer, seed)} for row in rows]
        if Need.TWO_PROMPTS in needs:
            rows = [row | {"on_policy": is_on_policy(row, policy.hash)} for row in _across(rows)]
            rows, left_out["rejected_prompt_ids"] = _having("rejected_prompt_ids", rows)
        return rows, {"pairs": len(rows), "left_out": left_out}

    slice_ = {
        "needs": sorted(n.name or "" for n in needs),
        "writers": {n.name or "": i for n, i in writers.items()},
        "seed": seed,
    }
    parents = [pairs] if further is None else [pairs, further]
    return build(folder, "pairs", slice_, make, parents, {"policy": policy.hash})


def _having(column: str, rows: Rows) -> tuple[Rows, int]:
    """The rows that have something in `column`, and how many do not."""
    kept = [row for row in rows if row[column]]
    return kept, len(rows) - len(kept)


def _changed(row: Row, tokenizer: "PreTrainedTokenizerFast", seed: int) -> list[int]:
    draw = random.Random(f"{seed}/{row['pair_id']}")
    instruction = draw.choice([text for text, is_followed in INSTRUCTIONS if not is_followed(row["chosen"])])
    *before, last = row["prompt"]
    return encode_prompt(tokenizer, [*before, Message(role=last["role"], content=f"{last['content']}\n{instruction}")])


def _across(rows: Rows) -> Rows:
    """Each chosen answer against the next pair's rejected one of another prompt that scores lower."""
    made = []
    for i, row in enumerate(rows):
        others = (rows[(i + step) % len(rows)] for step in range(1, len(rows)))
        worse = (o for o in others if o["prompt_id"] != row["prompt_id"] and o["rejected_score"] < row["chosen_score"])
        other = next(worse, None)
        if other is None:
            made.append(row | {"rejected_prompt_ids": None})
            continue
        made.append(
            row
            | {name: other[name] for name in ("rejected", "rejected_ids", "rejected_stopped", "rejected_score", "policy")}
            | {"pair_id": f"{row['pair_id']}/across", "rejected_prompt_ids": other["prompt_ids"], "base_ids": None}
            | {"margin": row["chosen_score"] - other["rejected_score"], "win_probability": None, "uncertainty": None}
        )
    return made
