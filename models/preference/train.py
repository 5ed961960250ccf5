"""Train a preference model on pairs by maximum likelihood, and say how sure it is of others. Runs in the training process."""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from data_contracts.config_preference import PreferenceConfig
from data_contracts.errors import PlumblineError
from models.preference.model import PreferenceModel, embed
from models.preference.store import load_body, save
from models.training.data import Example, check_fit, read_pairs
from models.training.progress import Progress, silent


def train_preference(job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Train from checkpoint `base` on the dataset in folder `pairs`, write the model to `out`, and try it on folder `held_out`.

    Returns {"losses": of each step in nats, "probabilities": P(chosen beats rejected) of each held-out pair, in order}.
    Raises PlumblineError for pairs that the model cannot take.
    """
    config = PreferenceConfig.model_validate(job["config"])
    pairs, held_out = read_pairs(Path(job["pairs"])), read_pairs(Path(job["held_out"]))
    torch.manual_seed(config.seed)
    base = load_body(Path(job["base"]))
    text = base.config.get_text_config()
    check_fit([*pairs, *held_out], text.vocab_size, getattr(text, "max_position_embeddings", None))
    model = PreferenceModel(base, config.kind, config.blocks, config.temperature)
    losses = fit(model, pairs, config, progress)
    chances = probabilities(model, held_out)
    save(model, Path(job["base"]), Path(job["out"]))
    return {"losses": losses, "probabilities": chances}


def fit(model: PreferenceModel, pairs: Sequence[Example], config: PreferenceConfig, progress: Progress = silent) -> list[float]:
    """Minimise the mean of -log sigmoid S(chosen > rejected) in place; the loss of each step in nats.

    Raises PlumblineError when the loss stops being a finite number.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    batches = _batches(len(pairs), config)
    warm, losses = max(1, round(config.warmup * len(batches))), []
    for step, indices in enumerate(batches):
        rate = min((step + 1) / warm, (len(batches) - step) / max(1, len(batches) - warm))
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1.0, rate)
        both = model([s for i in indices for s in _sequences(pairs[i])])
        loss = -torch.nn.functional.logsigmoid(model.score(both[::2], both[1::2])).mean()
        if not math.isfinite(loss.item()):
            raise PlumblineError(f"training stopped at step {step + 1}: the loss is no finite number; lower --learning-rate")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        progress(step + 1, len(batches))
    return losses


def probabilities(model: PreferenceModel, pairs: Sequence[Example]) -> list[float]:
    """P(chosen beats rejected) of each pair."""
    rows = embed(model, [s for pair in pairs for s in _sequences(pair)])
    chances: list[float] = model.score(rows[::2], rows[1::2]).sigmoid().tolist()
    return chances


def _sequences(pair: Example) -> tuple[list[int], list[int]]:
    return pair.prompt + pair.answers[0], pair.prompt + pair.answers[1]


def _batches(count: int, config: PreferenceConfig) -> list[list[int]]:
    rng, batches = random.Random(config.seed), []
    for _ in range(config.epochs):
        order = rng.sample(range(count), count)
        batches += [order[i : i + config.batch_size] for i in range(0, count, config.batch_size)]
    return batches
