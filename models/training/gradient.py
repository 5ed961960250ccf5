"""The gradient of one batch, independent of how it is cut into micro batches.

A mean over examples is a sum of what the micro batches give. An objective that compares the examples of a batch, or carries a
state, sees the whole batch at once all the same: a first pass computes every log-probability without a gradient, the loss is
differentiated with respect to them, and a second pass carries these numbers back into the weights, micro batch by micro batch.
That is the chain rule and no approximation; it costs one more forward. Where one micro batch suffices, one pass does.

A team of processes shares each batch. DDP and FSDP2 average gradients over the team, so every process multiplies by its size.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
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


@dataclass(frozen=True)
class _Work:
    """One batch as this process works on it."""

    model: "PreTrainedModel"
    given: Given
    indices: list[int]
    needs: Need
    accelerator: Accelerator
    parts: list[list[int]]  # micro batches: indices of examples
    own: int  # the first so many of them count; the others keep step with processes that have more
    carried: dict[str, list[Example]]  # further answers that carry a gradient
    mismatch: dict[str, Answers]
    beside: bool  # whether any process has answers beside the first, which all must then ask about, whatever their own parts hold

    @property
    def place(self) -> dict[int, int]:
        """Of each example, its row in the batch."""
        return {index: row for row, index in enumerate(self.indices)}

    def forward(self, part: Sequence[int]) -> _Found:
        with self.accelerator.autocast():
            own = _forward(self.model, [self.given.examples[i] for i in part], self.needs, self.beside)
            aux = {name: tree_logps(self.model, [rows[i] for i in part]).total for name, rows in self.carried.items()}
            return _Found(own, aux)

    def backward(self, value: Tensor, number: int) -> None:
        """Of part `number`; one that does not count adds zero."""
        self.accelerator.backward(value * team.size() if number < self.own else value * 0)

    def batch(self, part: Sequence[int], found: _Found) -> Batch:
        return _batch(self.given, part, found, self.mismatch, self.needs)

    def in_step(self, number: int) -> AbstractContextManager[None]:
        return team.quiet(self.model, number == len(self.parts) - 1)


Accumulated = tuple[Tensor, Tensor, dict[str, float], State]


def accumulate(
    model: "PreTrainedModel",
    given: Given,
    indices: list[int],
    objective: Objective,
    state: State,
    tokens: int,
    accelerator: Accelerator,
) -> Accumulated:
    """Add the gradient of the batch's mean loss to the parameters, micro batch by micro batch.

    Returns losses [B], policy log-probabilities [B, K] (both on the CPU, in the order of `indices`), the objective's own figures
    and its next state.
    """
    needs = objective.needs
    carried = {name: rows for name, (rows, _) in given.aux.items() if name != MISMATCH}
    parts, own = team.share(given.examples, indices, tokens // (1 + len(carried)))
    one_pass = not needs & WHOLE or (len(parts) == 1 and team.size() == 1)
    if needs & WHOLE and one_pass:
        parts = [indices]  # in the order given
    beside = team.size() > 1 and any(answer for e in given.examples for answer in e.answers[1:])
    mismatch = _mismatch(model, given, indices, tokens, accelerator)
    work = _Work(model, given, indices, needs, accelerator, parts, own, carried, mismatch, beside)
    return _in_one_pass(work, objective, state) if one_pass else _in_two_passes(work, objective, state)


def _in_one_pass(work: _Work, objective: Objective, state: State) -> Accumulated:
    """The loss of each micro batch by itself, added up."""
    count, place = len(work.indices), work.place
    losses, logps = torch.zeros(count), torch.zeros(count, len(work.given.examples[work.indices[0]].answers))
    sums: dict[str, float] = {}
    for number, part in enumerate(work.parts):
        with work.in_step(number):
            found = work.forward(part)
            loss, figures, state = objective(work.batch(part, found), state)
            work.backward(loss.sum() / count, number)
        rows, weight = [place[i] for i in part], len(part) / count if number < work.own else 0.0
        if weight:
            losses[rows], logps[rows] = loss.detach().cpu(), found.own.total.detach().cpu()
        for name, value in (figures | _divergence(work.given, work.indices, part, found.own)).items():
            sums[name] = sums.get(name, 0.0) + (value * weight if weight else 0.0)  # under every name: a team adds them up
    added = team.total(torch.tensor(list(sums.values()), dtype=torch.float64)).tolist()
    return team.total(losses), team.total(logps), dict(zip(sums, added, strict=True)), state


def _in_two_passes(work: _Work, objective: Objective, state: State) -> Accumulated:
    """The loss of the whole batch, by log-probabilities without a gradient, and its slopes carried back in a second pass."""
    place = work.place
    with torch.no_grad():
        first = _join(work, [work.forward(part) for part in work.parts][: work.own])
    leaves = [t.requires_grad_() for t in (first.own.total, first.own.token, *first.aux.values())]
    losses, figures, state = objective(work.batch(work.indices, first), state)
    slopes = torch.autograd.grad(losses.mean(), leaves, allow_unused=True)
    for number, part in enumerate(work.parts):
        with work.in_step(number):
            found, rows = work.forward(part), [place[i] for i in part]
            value = found.own.total.sum() * 0
            for values, slope in zip((found.own.total, found.own.token, *found.aux.values()), slopes, strict=True):
                if slope is not None:
                    value = value + (values * slope[rows][..., : values.shape[-1]]).sum()
            work.backward(value, number)
    figures = figures | _divergence(work.given, work.indices, work.indices, first.own)
    return losses.detach().cpu(), first.own.total.detach().cpu(), figures, state


def _mismatch(
    model: "PreTrainedModel", given: Given, indices: list[int], tokens: int, accelerator: Accelerator
) -> dict[str, Answers]:
    """Prompts with answers to other prompts, of the whole batch and without a gradient; nothing where they are not needed."""
    if MISMATCH not in given.aux:
        return {}
    others, ref = given.aux[MISMATCH]
    chosen = [others[i] for i in indices]
    with accelerator.autocast():
        found = all_logps(model, chosen, tokens).to(accelerator.device)
    return {MISMATCH: Answers(found, ref[indices].to(found), lengths(chosen).to(found.device))}


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


def _join(work: _Work, found: Sequence[_Found]) -> _Found:
    """The micro batches of all processes as one batch, in the order of its examples."""
    place, n = work.place, lengths([work.given.examples[i] for i in work.indices]).to(work.accelerator.device)
    width = int(n.max())
    total, overlap, token = (torch.zeros(shape, device=n.device) for shape in (n.shape, n.shape, (*n.shape, width)))
    aux = {name: torch.zeros(len(n), len(rows[0].answers), device=n.device) for name, rows in work.carried.items()}
    for f, part in zip(found, work.parts, strict=False):
        rows = [place[i] for i in part]
        total[rows], token[rows, :, : f.own.token.shape[-1]] = f.own.total, f.own.token
        if f.own.overlap is not None:
            overlap[rows] = f.own.overlap
        for name, values in f.aux.items():
            aux[name][rows] = values
    mask = torch.arange(width, device=n.device) < n[..., None]
    own = Logps(team.total(total), team.total(token), mask, team.total(overlap) if Need.OVERLAP in work.needs else None)
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
