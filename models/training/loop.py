"""The training loop: shuffled batches, one record per optimiser step. A team of processes walks through it in step."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean as mean
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from data_contracts.config_align import AlignConfig
from data_contracts.errors import PlumblineError
from data_contracts.store import Rows
from models.objectives.batch import Need, Objective
from models.training import team
from models.training.data import Example
from models.training.gradient import Accumulated, Given, accumulate, lengths
from models.training.logps import spread
from models.training.methods import build_optimizer, trainable
from models.training.moving import MovingReference
from models.training.progress import Progress
from models.training.snapshots import Snapshots, Standing
from models.training.watch import HeldOut, alarm, operations, peak_memory, utilisation

if TYPE_CHECKING:
    from transformers import PreTrainedModel

RECENT = 10  # steps whose mean speed is shown
SMALLEST = 64  # tokens a micro batch: less than any training example that runs out of memory
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}  # nats a token between two layouts of the same computation
log = logging.getLogger(__name__)


def train(
    model: "PreTrainedModel",
    given: Given,
    objective: Objective,
    config: AlignConfig,
    batches: list[list[int]],
    accelerator: Accelerator,
    starts_at_reference: bool,
    progress: Progress,
    snapshots: Snapshots | None = None,
    moving: MovingReference | None = None,
    at_epoch: Callable[[int], None] = lambda epoch: None,
    held_out: HeldOut | None = None,
) -> tuple[Rows, dict[str, float]]:
    """Train `model` in place, one step for each of the `batches` of example indices, from the latest of `snapshots` on.

    The log-ratios it reports are to the reference as `given`, also where the loss looks at one that is `moving`.
    With `held_out` it may stop early, and the best weights are those that remain.
    `at_epoch(n)` is called when epoch n (from 1) is over and another follows.

    Returns one row of records.STEPS per step, and what the objective itself measured in the last one.
    Raises PlumblineError when the loss or the gradient stops being a finite number, or if a policy that `starts_at_reference`
    does not give the reference's log-probabilities before the first step.
    """
    optimizer, precision = build_optimizer(model, config), "bfloat16" if accelerator.mixed_precision == "bf16" else "float32"
    standing = snapshots.restore(model, optimizer) if snapshots else Standing()
    rows: Rows = list(standing.rows)
    figures, state, budget = standing.figures, standing.state, config.micro_batch_tokens
    # of other objectives beta scales something else
    rewards = Need.REFERENCE in objective.needs and not objective.spec.normalised
    beta = getattr(config.objective, "beta", None) if rewards else None
    if standing.step:
        log.info("goes on after step %d of %d", standing.step, len(batches))
    for step, indices in enumerate(batches):
        if step < standing.step:
            continue
        started = time.monotonic()
        rate = learning_rate(step, len(batches), config)
        for group in optimizer.param_groups:
            group["lr"] = rate
        seen = moving.before(step, model, given, indices) if moving else given
        (losses, logp, figures, state), budget = within_memory(
            partial(accumulate, model, seen, indices, objective, state, accelerator=accelerator), model, budget
        )
        norm = float(team.whole(clip_grad_norm_(trainable(model).values(), config.max_grad_norm)))
        batch = [given.examples[i] for i in indices]
        _check_finite(losses, norm, batch, f"step {step + 1} of {len(batches)}")
        ratio = logp - given.ref[indices]
        if step == 0 and starts_at_reference:
            check_start(ratio, batch, TOLERANCE[precision])
        optimizer.step()
        optimizer.zero_grad()
        seconds = time.monotonic() - started
        rows.append(
            {
                "step": step + 1,
                "epoch": (step + 1) * config.epochs / len(batches),
                "loss": losses.mean().item(),
                **_measured(batch, logp, ratio, beta, Need.PAIR in objective.needs),
                "gradient_norm": norm,
                "learning_rate": rate,
                "reference_kl": figures.get("reference_kl"),
                "zero_share": figures.get("share_zero"),
                "held_out_accuracy": held_out.check(step + 1, len(batches), model, rows) if held_out else None,
                "tokens_per_second": sum(e.tokens for e in batch) / seconds,
                "peak_memory_mb": peak_memory(accelerator.device),
                "mfu": utilisation(operations(model, batch), seconds, accelerator.device),
            }
        )
        log.info("step %d of %d: loss %.4f, gradient norm %.3f", step + 1, len(batches), rows[-1]["loss"], norm)
        if (said := alarm(rows)) and not alarm(rows[:-1]):
            log.warning("%s", said)
        progress(step + 1, len(batches), mean(row["tokens_per_second"] for row in rows[-RECENT:]))
        epoch, into = divmod((step + 1) * config.epochs, len(batches))
        if into == 0 and epoch < config.epochs:
            at_epoch(epoch)
        if held_out and held_out.enough(rows):
            log.info("stopped early: held-out pairs are ranked no better for %d checks", held_out.config.patience)
            break
        if snapshots and step + 1 < len(batches):
            snapshots.save_if_due(Standing(step + 1, state, rows, figures), model, optimizer)
    if held_out:
        figures = figures | {"best_step": held_out.best(model, rows)}
    return rows, figures


def _check_finite(losses: Tensor, norm: float, batch: Sequence[Example], where: str) -> None:
    """Raises PlumblineError for a loss or gradient that is no number: one step with it would spoil every weight."""
    if losses.isfinite().all() and math.isfinite(norm):
        return
    broken = [example.id for example, loss in zip(batch, losses.tolist(), strict=True) if not math.isfinite(loss)]
    what = f"the loss of pair {broken[0]!r}" if broken else "the gradient"
    raise PlumblineError(
        f"training stopped at {where} because {what} is no finite number: lower align.learning_rate, or look at the data"
    )


def within_memory(accumulate: Callable[..., Accumulated], model: "PreTrainedModel", budget: int) -> tuple[Accumulated, int]:
    """`accumulate` with micro batches of `budget` tokens; out of memory, again with half of it, and so on. And what did.

    What a failed attempt left of the gradient is forgotten, so that the gradient is the same. A team cannot repeat a step: its
    other members are inside it.
    """
    while True:
        try:
            return accumulate(tokens=budget), budget
        except torch.OutOfMemoryError:
            if budget < SMALLEST or team.size() > 1:
                raise
            for p in trainable(model).values():
                p.grad = None
        budget //= 2
        torch.cuda.empty_cache()  # does nothing where CUDA was never used
        log.warning("out of memory: the step is repeated, and training goes on, with micro batches of %d tokens", budget)


def _measured(batch: Sequence[Example], logp: Tensor, ratio: Tensor, beta: float | None, pairs: bool) -> dict[str, float | None]:
    """Means over the batch of what its answers' log-probabilities and log-ratios to the reference, both [B, K], come to."""
    there = lengths(batch) > 0
    chosen, rejected = there[:, 0], there[:, 1:].any(-1)
    others = partial(_others, there=there, pairs=pairs)
    margin = (ratio[:, 0] - others(ratio))[chosen & rejected]
    ratios = {"chosen": _mean(ratio[chosen, 0]), "rejected": _mean(others(ratio)[rejected])}
    return {
        "chosen_logp": _mean(logp[chosen, 0]),
        "rejected_logp": _mean(others(logp)[rejected]),
        **{f"{side}_logratio": mean for side, mean in ratios.items()},
        **{f"{side}_reward": None if beta is None or mean is None else beta * mean for side, mean in ratios.items()},
        "margin": _mean(margin),
        "accuracy": _mean((margin > 0) + 0.5 * (margin == 0)),
    }


def _mean(values: Tensor) -> float | None:
    return values.mean().item() if len(values) else None


def _others(values: Tensor, there: Tensor, pairs: bool) -> Tensor:
    """[B] of the rejected answer, or the mean over all of a list but its best."""
    if pairs or values.shape[1] == 2:
        return values[:, 1]
    return (values * there)[:, 1:].sum(-1) / there[:, 1:].sum(-1)


def check_start(ratio: Tensor, examples: Sequence[Example], tolerance: float) -> None:
    """Before the first step a policy equal to its reference must give every answer the same log-probability: `ratio` [B, K] is 0.

    Raises PlumblineError with the pair that differs most.
    """
    tokens = lengths(examples).clamp(min=1)
    off = (ratio.abs() / spread(tokens)).max(-1).values
    worst = int(off.argmax())
    if not off[worst] <= tolerance:
        each = (ratio.abs() / tokens).max(-1).values[worst].item()
        raise PlumblineError(
            f"policy and reference are the same checkpoint but differ by {each:.2g} nats a token on pair "
            f"{examples[worst].id!r} before the first step: the reference's numbers belong to other data or another forward"
        )


def learning_rate(step: int, steps: int, config: AlignConfig) -> float:
    """Rate of step `step` (from 0): linear warm-up over the share `config.warmup` of the steps, then the schedule down to 0."""
    warm = round(config.warmup * steps)
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    if config.schedule == "linear":
        return config.learning_rate * (1 - done)
    if config.schedule == "cosine":
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
    return config.learning_rate
