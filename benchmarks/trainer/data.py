"""The two kinds of pairs, the tokenizer trained on them, and the order in which both trainers see them."""

import gzip
import json
import random
from pathlib import Path

from models.training.data import Example, plan

VOCABULARY, LONGEST = 8192, 512
HUMAN = Path(__file__).parents[2] / ".." / "shared" / "data" / "hh_harmless_test.jsonl.gz"


def human_texts() -> list[tuple[str, str, str]]:
    """(prompt, chosen, rejected) of every pair in the file: the prompt is all that comes before the last assistant turn."""
    mark, found = "\n\nAssistant:", []
    with gzip.open(HUMAN, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            (prompt, _, chosen), (other, _, rejected) = (row[side].rpartition(mark) for side in ("chosen", "rejected"))
            if prompt == other and chosen.strip() and rejected.strip() and chosen != rejected:
                found.append((prompt + mark, chosen, rejected))
    return found


def make(kind: str, count: int) -> list[Example]:
    """`count` pairs of token ids: "human" as they stand, "clair" with the answers that `_revised` makes.

    The tokenizer is a byte-level BPE trained on the file itself; prompt and answers are encoded apart, id 0 ends an answer.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    texts = human_texts()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    training = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator((part for text in texts for part in text), training)

    rng, examples = random.Random(0), list[Example]()
    rng.shuffle(texts)
    for prompt, chosen, rejected in texts:
        if kind == "clair":
            found = _revised([w for text in rng.sample(texts, 4) for w in text[1].split()], texts, rng)
            chosen, rejected = found
        ids = [tokenizer.encode(text).ids for text in (prompt, chosen, rejected)]
        example = Example(str(len(examples)), ids[0], (ids[1] + [0], ids[2] + [0]))
        if example.longest <= LONGEST and (kind == "human" or 130 <= len(ids[2]) <= 170):
            examples.append(example)
        if len(examples) == count:
            return examples
    raise ValueError(f"{HUMAN} holds fewer than {count} pairs that fit")


def _revised(words: list[str], texts: list[tuple[str, str, str]], rng: random.Random) -> tuple[str, str]:
    """An answer of about 150 tokens, and before it the same with six words of its second half changed, as a revision does."""
    words = words[:115]
    changed = list(words)
    for at in rng.sample(range(len(words) // 2, len(words)), min(6, len(words) // 2)):
        changed[at] = rng.choice(rng.choice(texts)[1].split() or ["well"])
    return " " + " ".join(changed), " " + " ".join(words)


def grouped(examples: list[Example], batch: int) -> list[list[int]]:
    """Batches in the order of transformers' LengthGroupedSampler: the least padding that TRL has to offer."""
    import torch
    from transformers.trainer_pt_utils import LengthGroupedSampler

    sampler = LengthGroupedSampler(batch, lengths=[e.longest for e in examples], generator=torch.Generator().manual_seed(0))
    order = list(sampler)
    return [order[i : i + batch] for i in range(0, len(order), batch)]


def shuffled(examples: list[Example], batch: int) -> list[list[int]]:
    """Batches at random, as plumbline trains and as TRL does by default."""
    return plan(len(examples), batch, epochs=1, seed=0)


ORDERS = {"shuffled": shuffled, "grouped": grouped}
