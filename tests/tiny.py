"""A random checkpoint that is quick to make: for tests of whatever loads, trains or serves a model."""

from pathlib import Path

import torch

from models.embedded.checkpoint import save
from models.embedded.llama import Llama, Shape
from models.embedded.tokenizer import build_tokenizer


def tiny(out: Path, seed: int = 0) -> Path:
    """Write a random two-layer Llama with the embedded tokenizer to `out`, and return `out`.

    One head of 32, since vLLM's CPU attention knows no smaller one. Unlike at the start of training nothing is
    zero, so that every parameter matters to the logits and receives a gradient.
    """
    tokenizer = build_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Llama(Shape(vocab=len(tokenizer), width=32, layers=2, inner=64, heads=1))
        for p in model.parameters():
            if p.dim() == 2:
                torch.nn.init.normal_(p, std=p.shape[1] ** -0.5)
    save(model, tokenizer, out)
    return out
