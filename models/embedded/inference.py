"""Sampling and scoring with the lean model, to measure what was built without starting an engine."""

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from models.embedded.llama import Cache, Llama
from models.embedded.tokenizer import encode_examples
from models.embedded.train import collate


@torch.no_grad()
def generate(
    model: Llama,
    tokenizer: PreTrainedTokenizerFast,
    prompts: list[str],
    temperature: float = 0.0,
    seed: int = 0,
    max_new: int = 48,
    batch: int = 256,
) -> list[str]:
    """One answer a prompt, greedy at temperature 0. Prompts are grouped by exact length, so nothing is padded."""
    generator, eos = torch.Generator().manual_seed(seed), tokenizer.eos_token_id
    ids = [prompt for prompt, _ in encode_examples(tokenizer, [(p, "") for p in prompts])]
    groups: dict[int, list[int]] = {}
    for i, prompt in enumerate(ids):
        groups.setdefault(len(prompt), []).append(i)
    answers = [""] * len(prompts)
    for _, members in sorted(groups.items()):
        for start in range(0, len(members), batch):
            chosen = members[start : start + batch]
            rows = _continue(model, torch.tensor([ids[i] for i in chosen]), eos, temperature, generator, max_new)
            for i, row in zip(chosen, rows.tolist(), strict=True):
                answers[i] = tokenizer.decode(row[: row.index(eos)])
    return answers


def _continue(model: Llama, prompts: Tensor, eos: int, temperature: float, generator: torch.Generator, max_new: int) -> Tensor:
    """New token ids [batch, up to max_new + 1], every row closed by an end token, its own or ours."""
    cache: Cache = []
    new: list[Tensor] = []
    finished = torch.zeros(len(prompts), dtype=torch.bool)
    state = model.hidden(prompts, cache)[:, -1]
    for _ in range(max_new):
        logits = model.lm_head(state)
        if temperature == 0:
            token = logits.argmax(-1)
        else:
            token = torch.multinomial(F.softmax(logits / temperature, -1), 1, generator=generator)[:, 0]
        finished |= token == eos
        new.append(token.masked_fill(finished, eos))
        if finished.all():
            break
        state = model.hidden(token[:, None], cache)[:, -1]
    return torch.stack([*new, torch.full_like(new[0], eos)], 1)


@torch.no_grad()
def log_likelihoods(
    model: Llama, tokenizer: PreTrainedTokenizerFast, pairs: list[tuple[str, str]], batch: int = 128
) -> list[float]:
    """log p(answer, end token | prompt) of each (prompt, answer): the score of the `likelihood` judge."""
    encoded = encode_examples(tokenizer, pairs)
    scores = []
    for start in range(0, len(encoded), batch):
        ids, labels = collate(encoded[start : start + batch])
        asked = labels >= 0
        logp = -F.cross_entropy(model.lm_head(model.hidden(ids)[asked]), labels[asked], reduction="none")
        scores += torch.zeros(len(ids)).index_add_(0, asked.nonzero()[:, 0], logp).tolist()
    return scores
