"""Small pairs datasets in the embedded world's words, for tests of whatever trains on pairs."""

import math
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


def full_rows(model: Checkpoint, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """`pair_rows` with every column filled that some method knows, so that they serve every objective on pairs."""
    tokenizer, rng = load_tokenizer(model.path), random.Random(seed + 1)

    def prompt(text: str) -> list[int]:
        return encode_prompt(tokenizer, [{"role": "user", "content": text}])

    rows = pair_rows(model, count, seed)
    for row in rows:
        (other, gold), (_, base) = _question(rng), _question(rng)
        row |= {"chosen_score": rng.uniform(0.5, 1), "rejected_score": rng.uniform(0, 0.5), "margin": rng.random()}
        row |= {"win_probability": rng.uniform(0.5, 1), "uncertainty": rng.uniform(0, 0.5), "weight": rng.uniform(0.5, 1.5)}
        row |= {"gold_ids": encode_answer(tokenizer, gold), "base_ids": encode_answer(tokenizer, base)}
        row |= {"rejected_prompt_ids": prompt(other), "reprompt_ids": prompt(f"Please answer. {other}")}
        row |= {"reasoning": f"It is {gold}", "on_policy": True, "chosen_policy": model.hash}
    return rows


def list_rows(model: Checkpoint, count: int, size: int = 4, seed: int = 0) -> list[dict[str, Any]]:
    """`count` lists of up to `size` answers, every third one shorter, every second with two reasoning steps; scores in 0..1."""
    tokenizer, rng = load_tokenizer(model.path), random.Random(seed)
    rows = []
    for i in range(count):
        prompt, best = _question(rng)
        answers = [best, *(_question(rng)[1] for _ in range(size - 1 - (i % 3 == 2)))]
        answers = [f"{a}\n{_question(rng)[1]}" if i % 2 else a for a in answers]
        messages, scores = [{"role": "user", "content": prompt}], sorted((rng.random() for _ in answers), reverse=True)
        rows.append(
            {
                "list_id": f"l{i}",
                "prompt_id": f"q{i}",
                "prompt": messages,
                "prompt_ids": encode_prompt(tokenizer, messages),
                "answers": answers,
                "answer_ids": [encode_answer(tokenizer, a) for a in answers],
                "stopped": [True] * len(answers),
                "scores": scores,
                "wins": [[1 / (1 + math.exp(b - a)) for b in scores] for a in scores],
                "sources": [model.hash] * len(answers),
                "method": "on_policy_judge",
                "on_policy": True,
                "policy": model.hash,
            }
        )
    return rows


def lists_dataset(folder: Path, model: Checkpoint, count: int, rows: list[dict[str, Any]] | None = None) -> Dataset:
    made = list_rows(model, count) if rows is None else rows
    return build(folder, "lists", {"count": count}, lambda work: (made, {}))


def _question(rng: random.Random) -> tuple[str, str]:
    a, b = rng.randrange(100), rng.randrange(100)
    polite = rng.choice(["", "Please answer. ", "Here is a question for you. "])
    return f"{polite}What is {a} plus {b}?", rng.choice([f"{a + b}", f"The answer is {a + b}.", f"{a} plus {b} is {a + b}."])


def pairs_dataset(
    folder: Path, model: Checkpoint, count: int, seed: int = 0, rows: list[dict[str, Any]] | None = None
) -> Dataset:
    made = pair_rows(model, count, seed) if rows is None else rows
    return build(folder, "pairs", {"count": count, "seed": seed}, lambda work: (made, {}))
