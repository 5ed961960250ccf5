"""The gradient of one batch, independent of how it is cut into micro batches.

A mean over examples is a sum of what the micro batches give. An objective that compares the examples of a batch, or carries a
state, sees the whole batch at once all the same: a first pass computes every log-probability without a gradient, the loss is
differentiated with respect to them, and a second pass carries these numbers back into the weights, micro batch by micro batch.
That is the chain rule and no approximation; it costs one more forward. Where one micro batch suffices, one pass does.

A team of processes shares each batch. DDP and FSDP2 average gradients over the team, so every process multiplies by its size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.functional import pad

from models.objectives.batch import Answers, Batch, Need, Objective, State
from models.training import team
from models.training.data import Example, shared_beginning
from models.training.logps import Logps, all_logps, tree_logps

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WHOLE = Need.WHOLE_BATCH | Need.STATE
MISMATCH = "mismatch"  # the one kind of further answers that carries no gradient and is of the whole batch


@dataclass(frozen=True)
class Given:
    """Examples with their reference log-probabilities, and whatever else the objective needs of them. All on the CPU."""

    examples: list[Example]
    refs: Tensor  # [R, N, K] of R references, the main one first
    numbers: Mapping[str, Tensor] = field(default_factory=dict)  # by field of `Batch`: [N, …]
    by_token: Mapping[str, list[Tensor]] = field(default_factory=dict)  # by field of `Batch`: of each example, [K, T]
    aux: Mapping[str, tuple[list[Example], Tensor]] = field(default_factory=dict)  # further answers, their reference's [N, K']
    start: list[Tensor] | None = None  # of each example, [K, T] by token under the main reference: how far away is the policy?

    @property
    def ref(self) -> Tensor:
        """The main reference's, [N, K]."""
        return self.refs[0]


@dataclass(frozen=True)
class _Found:
    """What one forward pass gives: the answers' log-probabilities, and the further answers' sums [B, K']."""

    own: Logps
    aux: dict[str, Tensor]


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
    carried = {name: rows for name, (rows, _) in given.aux.items() if name != MISMATCH}
    parts, own = team.share(given.examples, indices, tokens // (1 + len(carried)))
    one_pass = not needs & WHOLE or (len(parts) == 1 and team.size() == 1)
    if needs & WHOLE and one_pass:
        parts = [indices]  # in the order given
    # whether any process has answers beside the first, which all must then ask about, whatever their own micro batches hold
    beside = team.size() > 1 and any(answer for e in given.examples for answer in e.answers[1:])
    place = {index: row for row, index in enumerate(indices)}
    mismatch: dict[str, Answers] = {}
    if MISMATCH in given.aux:
        others, others_ref = given.aux[MISMATCH]
        chosen = [others[i] for i in indices]
        with accelerator.autocast():
            other = all_logps(model, chosen, tokens).to(accelerator.device)
        mismatch[MISMATCH] = Answers(other, others_ref[indices].to(other), lengths(chosen).to(other.device))

    def forward(part: Sequence[int]) -> _Found:
        with accelerator.autocast():
            own = _forward(model, [given.examples[i] for i in part], needs, beside)
            return _Found(own, {name: tree_logps(model, [rows[i] for i in part]).total for name, rows in carried.items()})

    def backward(value: Tensor, number: int) -> None:
        accelerator.backward(value * team.size() if number < own else value * 0)

    if not one_pass:
        with torch.no_grad():
            first = _join([forward(part) for part in parts][:own], parts, given, indices, carried, needs, accelerator.device)
        leaves = [t.requires_grad_() for t in (first.own.total, first.own.token, *first.aux.values())]
        losses, figures, state = objective(_batch(given, indices, first, mismatch, needs), state)
        slopes = torch.autograd.grad(losses.mean(), leaves, allow_unused=True)
        for number, part in enumerate(parts):
            with team.quiet(model, number == len(parts) - 1):
                found, rows = forward(part), [place[i] for i in part]
                value = found.own.total.sum() * 0
                for values, slope in zip((found.own.total, found.own.token, *found.aux.values()), slopes, strict=True):
                    if slope is not None:
                        value = value + (values * slope[rows][..., : values.shape[-1]]).sum()
                backward(value, number)
        figures = figures | _divergence(given, indices, indices, first.own)
        return losses.detach().cpu(), first.own.total.detach().cpu(), figures, state

    sums: dict[str, float] = {}
    losses, logps = torch.zeros(count), torch.zeros(count, len(given.examples[indices[0]].answers))
    for number, part in enumerate(parts):
        with team.quiet(model, number == len(parts) - 1):
            found = forward(part)
            loss, figures, state = objective(_batch(given, part, found, mismatch, needs), state)
            backward(loss.sum() / count, number)
        rows, weight = [place[i] for i in part], len(part) / count if number < own else 0.0
        if weight:
            losses[rows], logps[rows] = loss.detach().cpu(), found.own.total.detach().cpu()
        for name, value in (figures | _divergence(given, indices, part, found.own)).items():
            sums[name] = sums.get(name, 0.0) + (value * weight if weight else 0.0)
    added = team.total(torch.tensor(list(sums.values()), dtype=torch.float64)).tolist()
    return team.total(losses), team.total(logps), dict(zip(sums, added, strict=True)), state


@torch.no_grad()
def _divergence(given: Given, indices: Sequence[int], part: Sequence[int], found: Logps) -> dict[str, float]:
    """Nats an answer between policy and main reference, along the batch's answers: half the squared log-ratio of each token.

    To second order that is the KL divergence, in either direction, where the reference or the policy wrote the answers; elsewhere
    it is a distance (John Schulman, "Approximating KL divergence", 2020, estimator k2).
    """
    if given.start is None:
        return {}
    total, answers = 0.0, sum(bool(answer) for i in indices for answer in given.examples[i].answers)
    for values, i in zip(found.token.detach().cpu(), part, strict=True):
        ref = given.start[i]
        total += float((values[:, : ref.shape[1]] - ref).square().sum()) / 2
    return {"reference_kl": total / answers * len(indices) / len(part)}  # so that parts, weighted by their rows, give the whole


def _forward(model: "PreTrainedModel", examples: list[Example], needs: Need, beside: bool) -> Logps:
    """Log-probabilities of all answers; those no objective of these `needs` looks at are watched and carry no gradient.

    `beside`: others of the team may have some to watch, and would wait at the door for who has none.
    """
    if needs & (Need.PAIR | Need.LABELS | Need.LIST | Need.OLD_TOKENS):
        return tree_logps(model, examples, overlap=Need.OVERLAP in needs)
    first = [Example(e.id, e.prompt, e.answers[:1]) for e in examples]
    rest = [Example(e.id, e.prompt, e.answers[1:]) for e in examples]
    # in this order: autocast keeps the weights it has cast, and those cast under no_grad would block the gradient
    trained = tree_logps(model, first, overlap=Need.OVERLAP in needs)
    if not any(answer for e in rest for answer in e.answers):
        if beside:
            with torch.no_grad():
                tree_logps(model, first)
        more = len(rest[0].answers)
        total, token, mask = (
            pad(trained.total, (0, more)),
            pad(trained.token, (0, 0, 0, more)),
            pad(trained.mask, (0, 0, 0, more)),
        )
        return Logps(total, token, mask, None if trained.overlap is None else pad(trained.overlap, (0, more)))
    with torch.no_grad():
        watched = tree_logps(model, rest, overlap=Need.OVERLAP in needs)
    return _widest([trained, watched], 1)


def _batch(given: Given, part: Sequence[int], found: _Found, mismatch: Mapping[str, Answers], needs: Need) -> Batch:
    examples, own, device = [given.examples[i] for i in part], found.own, found.own.total.device
    count, width, n = own.total.shape[1], own.token.shape[-1], lengths(examples).to(device)
    label = torch.where(torch.arange(count, device=device) < (count + 1) // 2, 1.0, -1.0).expand_as(own.total)
    fields: dict[str, Tensor | None] = {name: values[part].to(device) for name, values in given.numbers.items()}
    if Need.TOKENS in needs:
        fields |= {"token_logp": own.token, "token_mask": own.mask}
    for name, rows in given.by_token.items():
        padded = [pad(rows[i], (0, width - rows[i].shape[-1])) for i in part]
        fields[name] = torch.stack(padded).to(device)
    if Need.SHARED_PREFIX in needs:
        shared = [shared_beginning(min(e.answers), max(e.answers)) for e in examples]
        fields["shared"] = torch.tensor(shared, device=device)
    if not bool(n.all()):  # some answer is not there
        fields["mask"] = n > 0
    aux = dict(mismatch)
    for name, total in found.aux.items():
        rows, ref = given.aux[name]
        aux[name] = Answers(total, ref[part].to(device), lengths([rows[i] for i in part]).to(device))
    return Batch(own.total, n, given.refs[:, part].to(device), label, self_overlap=own.overlap, aux=aux, **fields)


def _join(
    found: Sequence[_Found],
    parts: Sequence[Sequence[int]],
    given: Given,
    indices: Sequence[int],
    carried: Mapping[str, list[Example]],
    needs: Need,
    device: torch.device,
) -> _Found:
    """The micro batches of all processes as one batch, in the order of `indices`."""
    place, n = {index: row for row, index in enumerate(indices)}, lengths([given.examples[i] for i in indices]).to(device)
    width = int(n.max())
    total, overlap, token = (torch.zeros(shape, device=device) for shape in (n.shape, n.shape, (*n.shape, width)))
    aux = {name: torch.zeros(len(indices), len(rows[0].answers), device=device) for name, rows in carried.items()}
    for f, part in zip(found, parts, strict=False):
        rows = [place[i] for i in part]
        total[rows], token[rows, :, : f.own.token.shape[-1]] = f.own.total, f.own.token
        if f.own.overlap is not None:
            overlap[rows] = f.own.overlap
        for name, values in f.aux.items():
            aux[name][rows] = values
    mask = torch.arange(width, device=device) < n[..., None]
    own = Logps(team.total(total), team.total(token), mask, team.total(overlap) if Need.OVERLAP in needs else None)
    return _Found(own, {name: team.total(values) for name, values in aux.items()})


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
    """Tokens of each answer, [B, K]; 0 for one that is not there."""
    return torch.tensor([e.lengths for e in examples])
