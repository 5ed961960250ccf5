"""Training the embedded models: fresh examples, length buckets, Muon on matrices and AdamW on the rest.

The budget is a number of steps, never seconds: the same seed gives the same weights on a busy machine.
"""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.embedded.llama import Llama

Encoded = tuple[list[int], list[int]]  # (prompt ids, answer ids)
PAD = 1  # SPECIAL's <|pad|>; padded positions carry no loss and follow every real one


@dataclass(frozen=True)
class Recipe:
    steps: int
    tokens: int  # in a batch, about
    adamw: float  # learning rate of embeddings, head and norms
    muon: float  # learning rate of the matrices
    decay: float  # share of the steps, at the end, over which the rates fall to zero
    warmup: int = 20

    def rate(self, step: int) -> float:
        """Trapezoid: up, flat, down to zero."""
        down = (1 - step / self.steps) / self.decay if self.decay else 1.0
        return min(1.0, (step + 1) / self.warmup, down)


def buckets(examples: list[Encoded], tokens: int, rng: random.Random) -> list[list[Encoded]]:
    """Shuffled batches of about `tokens` tokens, each of examples of like length: little is padding."""
    examples = sorted(rng.sample(examples, len(examples)), key=lambda e: (len(e[0]) + len(e[1])) // 4)
    batches: list[list[Encoded]] = [[]]
    for example in examples:
        if batches[-1] and (len(batches[-1]) + 1) * sum(map(len, example)) > tokens:
            batches.append([])
        batches[-1].append(example)
    rng.shuffle(batches)
    return batches


def collate(batch: list[Encoded]) -> tuple[Tensor, Tensor]:
    """Ids and labels [batch, longest]; a label sits where its token is predicted, -100 where nothing is asked."""
    longest = max(len(p) + len(a) for p, a in batch)
    ids, labels = torch.full((len(batch), longest), PAD), torch.full((len(batch), longest), -100)
    for i, (prompt, answer) in enumerate(batch):
        end = len(prompt) + len(answer)
        ids[i, :end] = torch.tensor(prompt + answer)
        labels[i, len(prompt) - 1 : end - 1] = torch.tensor(answer)
    return ids, labels


def loss(model: Llama, ids: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the answer tokens; the head runs on those positions only."""
    asked = labels >= 0
    return F.cross_entropy(model.lm_head(model.hidden(ids)[asked]), labels[asked])


def orthogonal(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Nearly the closest orthogonal matrices [n, rows, columns], by Newton-Schulz (Jordan et al., Muon, 2024)."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if tall else x


class Muon:
    """Momentum whose steps are orthogonalised; matrices of one shape go together, to save time."""

    def __init__(self, matrices: list[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.02):
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        shapes = {p.shape: None for p in matrices}
        self.groups = [[p for p in matrices if p.shape == shape] for shape in shapes]
        self.velocity = [torch.zeros(len(group), *group[0].shape) for group in self.groups]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        for group, velocity in zip(self.groups, self.velocity, strict=True):
            gradient = torch.stack([p.grad for p in group])
            velocity.mul_(self.momentum).add_(gradient)
            update = orthogonal(gradient + self.momentum * velocity)
            rows, columns = update.shape[-2:]
            size = self.lr * rate * math.sqrt(max(1.0, rows / columns))
            for p, u in zip(group, update, strict=True):
                p.mul_(1 - self.lr * rate * self.weight_decay).add_(u, alpha=-size)


def train(
    model: Llama,
    make: Callable[[random.Random, int, float], list[Encoded]],
    recipe: Recipe,
    seed: int,
    report: Callable[[str], None] = print,
) -> dict[str, float]:
    """Train `model` in place on fresh examples: `make(rng, n, share of the steps done)` gives `n` of them."""
    rng, started = random.Random(seed), time.monotonic()
    matrices = [p for n, p in model.named_parameters() if "_proj" in n]
    others = [p for n, p in model.named_parameters() if "_proj" not in n]
    adamw = torch.optim.AdamW(others, lr=recipe.adamw, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    muon = Muon(matrices, recipe.muon)
    queue: list[list[Encoded]] = []
    tokens, smoothed = 0, 0.0
    for step in range(recipe.steps):
        queue = queue or buckets(make(rng, 1000, step / recipe.steps), recipe.tokens, rng)
        ids, labels = collate(queue.pop())
        value = loss(model, ids, labels)
        value.backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        rate = recipe.rate(step)
        adamw.param_groups[0]["lr"] = recipe.adamw * rate
        adamw.step()
        muon.step(rate)
        model.zero_grad()
        tokens += ids.numel()
        smoothed = value.item() if step == 0 else 0.95 * smoothed + 0.05 * value.item()
        if (step + 1) % 100 == 0 or step + 1 == recipe.steps:
            seconds = time.monotonic() - started
            left = seconds / (step + 1) * (recipe.steps - step - 1)
            speed = f"{tokens / seconds:,.0f} tokens/s, {left:.0f} s left"
            report(f"step {step + 1}/{recipe.steps}, loss {smoothed:.3f}, {speed}")
    return {"tokens_seen": tokens, "loss": smoothed, "seconds": time.monotonic() - started}
