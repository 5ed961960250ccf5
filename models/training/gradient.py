"""The gradient of one batch, independent of how it is cut into micro batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from torch import Tensor

from models.objectives.batch import Answers, Batch, Need, Objective, State
from models.training.data import Example, micro_batches
from models.training.logps import all_logps, completion_logps

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Given:
    """Examples with their reference log-probabilities [N, K], and the same answers under other prompts (or None)."""

    examples: list[Example]
    ref: Tensor
    others: list[Example] | None = None
    others_ref: Tensor | None = None


def accumulate(
    model: "PreTrainedModel",
    given: Given,
    indices: list[int],
    objective: Objective,
    state: State,
    tokens: int,
    accelerator: Accelerator,
) -> tuple[Tensor, Tensor, dict[str, float], State]:
    """Add the gradient of the batch's mean loss to the parameters, micro batch by micro batch.

    Returns losses [B], policy log-probabilities [B, K] (both on the CPU, in the order of `indices`), the objective's own figures
    and its next state.
    """
    device, place = accelerator.device, {index: row for row, index in enumerate(indices)}
    losses, logps = torch.full((len(indices),), float("nan")), torch.full((len(indices), 2), float("nan"))
    aux: dict[str, Answers] = {}
    if given.others is not None and given.others_ref is not None:
        others = [given.others[i] for i in indices]
        with accelerator.autocast():
            other = all_logps(model, others, tokens).to(device)
        aux["mismatch"] = Answers(other, given.others_ref[indices].to(device), lengths(others).to(device))
    figures: dict[str, float] = {}
    for part in micro_batches(given.examples, indices, tokens):
        chosen_only = not objective.needs & (Need.PAIR | Need.LABELS)
        examples = [given.examples[i] for i in part]
        with accelerator.autocast():
            logp = _logps(model, examples, chosen_only)
        label = torch.tensor([1.0, -1.0], device=device).expand_as(logp)
        batch = Batch(logp, lengths(examples).to(device), given.ref[part].to(device)[None], label, aux=aux)
        loss, figures, state = objective(batch, state)
        accelerator.backward(loss.sum() / len(indices))
        at = [place[i] for i in part]
        losses[at], logps[at] = loss.detach().cpu(), logp.detach().cpu()
    return losses, logps, figures, state


def _logps(model: "PreTrainedModel", examples: list[Example], chosen_only: bool) -> Tensor:
    """[B, 2]; with `chosen_only` the rejected answers are watched for the record and carry no gradient."""
    if not chosen_only:
        return completion_logps(model, examples)
    first, second = ([Example(e.id, e.prompt, (e.answers[k],)) for e in examples] for k in (0, 1))
    # in this order: autocast keeps the weights it has cast, and those cast under no_grad would block the gradient
    trained = completion_logps(model, first)
    with torch.no_grad():
        watched = completion_logps(model, second)
    return torch.cat([trained, watched], 1)


def lengths(examples: Sequence[Example]) -> Tensor:
    """Tokens of each answer, [B, K]."""
    return torch.tensor([[len(a) for a in e.answers] for e in examples])
