"""Objectives that compare examples of one batch with each other, so that a batch may not be split into micro batches.

r = log pi - log ref. A larger batch is not only less noise here but another objective.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from models.objectives.batch import Batch, Need, Result, Spec, State
from models.objectives.pieces import difference, logistic, required, there

if TYPE_CHECKING:
    from torch import Tensor


def by_rank(upper: "Tensor", lower: "Tensor") -> "Tensor":
    """upper - lower [B] where each upper is matched with the lower of the same rank within the batch."""
    rank = upper.detach().argsort(stable=True).argsort()
    return upper - lower.sort().values[rank]


def quantiles(upper: "Tensor", lower: "Tensor") -> tuple["Tensor", "Tensor", "Tensor"]:
    """The distributions of `upper` [N] and `lower` [M] side by side, in pieces in which neither changes: which of `upper` and
    which of `lower` it is there [P], and how much of the whole [P], adding up to 1."""
    n, m = len(upper), len(lower)
    ends = sorted({i * m for i in range(1, n + 1)} | {i * n for i in range(1, m + 1)})  # of the pieces, in parts of 1 / nm
    above = upper.detach().argsort(stable=True)[[(end - 1) // m for end in ends]]
    below = lower.detach().argsort(stable=True)[[(end - 1) // n for end in ends]]
    return above, below, upper.new_tensor([end - begin for begin, end in pairwise([0, *ends])]) / (n * m)


@dataclass(frozen=True)
class Aot:
    """Alignment by optimal transport: the policy's margins, as a distribution, are to lie above the reference's.

    -log s(beta (M_(k) - R_(k))), M = log pi_w - log pi_l and R = log ref_w - log ref_l, each sorted within the batch.

    Use it with large batches, when the distribution of margins matters more than each pair. A pair that is ranked wrongly but no
    worse than the reference's worst is let be. In a batch of one it is DPO.
    """

    beta: float
    name: ClassVar[str] = "aot"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE | Need.WHOLE_BATCH
    spec: ClassVar[Spec] = Spec("2406.05882")

    def __call__(self, batch: Batch, state: State) -> Result:
        return logistic(self.beta * by_rank(difference(batch.logp), difference(required(batch.ref_logp)[0]))), {}, state


@dataclass(frozen=True)
class AotUnpaired:
    """Alignment by optimal transport without pairs: chosen log-ratios, as a distribution, are to lie above the rejected ones.

    integral over t of -log s(beta (W(t) - L(t))), W and L the quantiles of r_w and of r_l within the batch, for half its answers.

    With as many of either that is -log s(beta (W_(k) - L_(k))), each sorted, as in TRL; with unequal numbers each answer meets
    those with which it shares a part of the distribution. A batch of one kind alone says nothing.

    Use it when good and bad answers are not answers to the same prompts. With large batches only. Not for revisions at a small
    beta: what a pair begins with alike is weighed by two different ranks and no longer cancels. In a batch of one pair it is DPO.
    """

    beta: float
    name: ClassVar[str] = "aot_unpaired"
    needs: ClassVar[Need] = Need.LABELS | Need.REFERENCE | Need.WHOLE_BATCH
    spec: ClassVar[Spec] = Spec("2406.05882")

    def __call__(self, batch: Batch, state: State) -> Result:
        ratio, here = batch.log_ratio, there(batch)
        losses = (ratio * 0).sum(-1)  # of the rows of chosen answers, whose costs the sum is of
        if here.any(0).all():
            upper, lower = ratio[here[:, 0], 0], ratio[here[:, 1], 1]
            above, below, width = quantiles(upper, lower)
            costs = logistic(self.beta * (upper[above] - lower[below])) * width * (len(upper) + len(lower)) / 2
            losses = losses.index_add(0, here[:, 0].nonzero()[above, 0], costs)
        return losses, {}, state


@dataclass(frozen=True)
class RelativePo:
    """Relative preference optimisation: each chosen answer against the rejected answers of similar prompts too.

    sum_j w_ij (-log s(beta (r_w,i - r_l,j))), w_i = softmax over j of -(1 - cos(x_i, x_j)) / tau, x the prompts' embeddings.

    The weights multiply the loss. The authors' code multiplies the *logit*, so that margins shrink with the batch's size; not so
    here (hence "reconstructed"). Embeddings are the policy's mean hidden states less their mean over all prompts, in place of a
    sentence encoder's. In a batch of one it is DPO. Use it when many prompts are alike; not when prompts differ in how
    hard they are, which comparisons across prompts mistake for quality.
    """

    beta: float
    tau: float
    name: ClassVar[str] = "relative_po"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE | Need.PROMPT_EMBEDDING | Need.WHOLE_BATCH
    spec: ClassVar[Spec] = Spec("2402.10958", reconstructed=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        ratio, prompts = batch.log_ratio, required(batch.prompt_emb)
        unit = prompts / prompts.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        weight = (unit @ unit.T / self.tau).softmax(-1)  # the formula's constant cancels
        losses = logistic(self.beta * (ratio[:, :1] - ratio[None, :, 1]))
        return (weight * losses).sum(-1), {"own_weight": weight.diagonal().mean().item()}, state
