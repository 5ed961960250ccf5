"""Objectives that compare examples of one batch with each other, so that a batch may not be split into micro batches.

r = log pi - log ref. A larger batch is not only less noise here but another objective.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from models.objectives.batch import Batch, Need, Result, Spec, State
from models.objectives.pieces import difference, logistic, required

if TYPE_CHECKING:
    from torch import Tensor


def by_rank(upper: "Tensor", lower: "Tensor") -> "Tensor":
    """upper - lower [B] where each upper is matched with the lower of the same rank within the batch."""
    rank = upper.detach().argsort(stable=True).argsort()
    return upper - lower.sort().values[rank]


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

    -log s(beta (W_(k) - L_(k))), W = r_w and L = r_l, each sorted within the batch.

    Use it when good and bad answers are not answers to the same prompts; needs as many of either. With large batches only. Not
    for revisions at a small beta: what a pair begins with alike is weighed by two different ranks and no longer cancels. In a
    batch of one it is DPO.
    """

    beta: float
    name: ClassVar[str] = "aot_unpaired"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE | Need.WHOLE_BATCH
    spec: ClassVar[Spec] = Spec("2406.05882")

    def __call__(self, batch: Batch, state: State) -> Result:
        ratio = batch.log_ratio
        return logistic(self.beta * by_rank(ratio[:, 0], ratio[:, 1])), {}, state


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
