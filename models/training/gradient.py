"""The gradient of one batch, independent of how it is cut into micro batches.

A mean over examples is a sum of what the micro batches give. An objective that compares the examples of a batch, or carries a
state, sees the whole batch at once all the same: a first pass computes every log-probability without a gradient, the loss is
differentiated with respect to them, and a second pass carries these numbers back into the weights, micro batch by micro batch.
That is the chain rule and no approximation; it costs one more forward. Where one micro batch suffices, one pass does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.functional import pad

from models.objectives.batch import Answers, Batch, Need, Objective, State
from models.training.data import Example, micro_batches, shared_beginning
from models.training.logps import Logps, all_logps, tree_logps

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WHOLE = Need.WHOLE_BATCH | Need.STATE


@dataclass(frozen=True)
class Given:
    """Examples with their reference log-probabilities, and the same answers under other prompts (or None)."""

    examples: list[Example]
    ref: Tensor  # [N, K]
    token_ref: list[Tensor] | None = None  # of each example, [K, T]; only for Need.TOKENS
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
    needs, count = objective.needs, len(indices)
    parts = micro_batches(given.examples, indices, tokens)
    if needs & WHOLE and len(parts) == 1:
        parts = [indices]  # one pass, and in the order given
    aux: dict[str, Answers] = {}
    if given.others is not None and given.others_ref is not None:
        others = [given.others[i] for i in indices]
        with accelerator.autocast():
            other = all_logps(model, others, tokens).to(accelerator.device)
        aux["mismatch"] = Answers(other, given.others_ref[indices].to(other), lengths(others).to(other.device))

    def forward(part: Sequence[int]) -> Logps:
        with accelerator.autocast():
            return _forward(model, [given.examples[i] for i in part], needs)

    if needs & WHOLE and len(parts) > 1:
        with torch.no_grad():
            first = _join([forward(part) for part in parts], parts, indices)
        total, token = first.total.requires_grad_(), first.token.requires_grad_()
        batch = _batch(given, indices, Logps(total, token, first.mask, first.overlap), aux, needs)
        losses, figures, state = objective(batch, state)
        by_total, by_token = torch.autograd.grad(losses.mean(), (total, token), allow_unused=True)
        place = {index: row for row, index in enumerate(indices)}
        for part in parts:
            found, rows = forward(part), [place[i] for i in part]
            value = found.total.new_zeros(())
            if by_total is not None:
                value = value + (found.total * by_total[rows]).sum()
            if by_token is not None:
                value = value + (found.token * by_token[rows, :, : found.token.shape[-1]]).sum()
            accelerator.backward(value)
        return losses.detach().cpu(), total.detach().cpu(), figures, state

    sums: dict[str, float] = {}
    losses = torch.full((count,), float("nan"))
    logps = torch.full((count, len(given.examples[indices[0]].answers)), float("nan"))
    place = {index: row for row, index in enumerate(indices)}
    for part in parts:
        found = forward(part)
        loss, figures, state = objective(_batch(given, part, found, aux, needs), state)
        accelerator.backward(loss.sum() / count)
        rows = [place[i] for i in part]
        losses[rows], logps[rows] = loss.detach().cpu(), found.total.detach().cpu()
        for name, value in figures.items():
            sums[name] = sums.get(name, 0.0) + value * len(part) / count
    return losses, logps, sums, state


def _forward(model: "PreTrainedModel", examples: list[Example], needs: Need) -> Logps:
    """Log-probabilities of all answers; those no objective of these `needs` looks at are watched and carry no gradient."""
    if needs & (Need.PAIR | Need.LABELS | Need.LIST):
        return tree_logps(model, examples, overlap=Need.OVERLAP in needs)
    first = [Example(e.id, e.prompt, e.answers[:1]) for e in examples]
    rest = [Example(e.id, e.prompt, e.answers[1:]) for e in examples]
    # in this order: autocast keeps the weights it has cast, and those cast under no_grad would block the gradient
    trained = tree_logps(model, first, overlap=Need.OVERLAP in needs)
    if not rest[0].answers:
        return trained
    with torch.no_grad():
        watched = tree_logps(model, rest, overlap=Need.OVERLAP in needs)
    return _widest([trained, watched], 1)


def _batch(given: Given, part: Sequence[int], found: Logps, aux: dict[str, Answers], needs: Need) -> Batch:
    examples, device = [given.examples[i] for i in part], found.total.device
    count = found.total.shape[1]
    label = torch.where(torch.arange(count, device=device) < (count + 1) // 2, 1.0, -1.0).expand_as(found.total)
    fields: dict[str, Tensor | None] = {}
    if Need.TOKENS in needs:
        fields |= {"token_logp": found.token, "token_mask": found.mask}
        if given.token_ref is not None:
            width = found.token.shape[-1]
            rows = [pad(given.token_ref[i], (0, width - given.token_ref[i].shape[-1])) for i in part]
            fields["token_ref"] = torch.stack(rows).to(device)
    if Need.SHARED_PREFIX in needs:
        shared = [shared_beginning(min(e.answers), max(e.answers)) for e in examples]
        fields["shared"] = torch.tensor(shared, device=device)
    ref = given.ref[part].to(device)[None]
    return Batch(found.total, lengths(examples).to(device), ref, label, self_overlap=found.overlap, aux=aux, **fields)


def _join(found: Sequence[Logps], parts: Sequence[Sequence[int]], indices: Sequence[int]) -> Logps:
    """The micro batches' rows as one batch in the order of `indices`."""
    at = {index: row for row, index in enumerate(i for part in parts for i in part)}
    order = [at[index] for index in indices]
    joined = _widest(found, 0)
    overlap = None if joined.overlap is None else joined.overlap[order]
    return Logps(joined.total[order], joined.token[order], joined.mask[order], overlap)


def _widest(found: Sequence[Logps], dim: int) -> Logps:
    """Concatenated along `dim`, answers padded to the longest."""
    width = max(f.token.shape[-1] for f in found)

    def wide(values: Tensor) -> Tensor:
        return pad(values, (0, width - values.shape[-1]))

    overlaps = [f.overlap for f in found if f.overlap is not None]
    return Logps(
        torch.cat([f.total for f in found], dim),
        torch.cat([wide(f.token) for f in found], dim),
        torch.cat([wide(f.mask) for f in found], dim),
        torch.cat(overlaps, dim) if overlaps else None,
    )


def lengths(examples: Sequence[Example]) -> Tensor:
    """Tokens of each answer, [B, K]."""
    return torch.tensor([[len(a) for a in e.answers] for e in examples])
