"""Small pairs datasets in the embedded world's words, for tests of whatever trains on pairs."""

import random
from pathlib import Path
from typing import Any

from data_contracts.store import Dataset, build
from models.chat import encode_answer, encode_prompt
from models.checkpoint import Checkpoint, load_tokenizer


def pair_rows(model: Checkpoint, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """`count` pairs: a right answer chosen, another question's answer rejected, every fourth of those cut after one token."""
    tokenizer, rng = load_tokenizer(model.path), random.Random(seed)
    examples = [_question(rng) for _ in range(count + 1)]
    rows = []
    for i in range(count):
        (prompt, chosen), (_, rejected) = examples[i], examples[i + 1]
        messages, cut = [{"role": "user", "content": prompt}], i % 4 == 3
        rejected_ids = encode_answer(tokenizer, rejected)[: 1 if cut else None]
        rows.append(
            {
                "pair_id": f"p{i}",
                "prompt_id": f"q{i}",
                "prompt": messages,
                "prompt_ids": encode_prompt(tokenizer, messages),
                "chosen": chosen,
                "rejected": tokenizer.decode(rejected_ids, skip_special_tokens=True),
                "chosen_ids": encode_answer(tokenizer, chosen),
                "rejected_ids": rejected_ids,
                "chosen_stopped": True,
                "rejected_stopped": not cut,
                "method": "clair",
                "margin": None,
                "reasoning": "",
                "policy": model.hash,
            }
        )
    return rows


def _question(rng: random.Random) -> tuple[str, str]:
    a, b = rng.randrange(100), rng.randrange(100)
    polite = rng.choice(["", "Please answer. ", "Here is a question for you. "])
    return f"{polite}What is {a} plus {b}?", rng.choice([f"{a + b}", f"The answer is {a + b}.", f"{a} plus {b} is {a + b}."])


def pairs_dataset(
    folder: Path, model: Checkpoint, count: int, seed: int = 0, rows: list[dict[str, Any]] | None = None
) -> Dataset:
    made = pair_rows(model, count, seed) if rows is None else rows
    return build(folder, "pairs", {"count": count, "seed": seed}, lambda work: (made, {}))
