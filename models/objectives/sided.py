"""Objectives that judge each answer by itself, by its own log-ratio r = log pi - log ref. (APO is in `anchored`, KTO in
`kto`.)"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from models.objectives.batch import Batch, Need, Result, Spec, State, softplus
from models.objectives.pieces import logistic, required, there

if TYPE_CHECKING:
    from torch import Tensor


def bco_losses(reward: "Tensor", label: "Tensor", delta: float) -> "Tensor":
    """-log s(label (reward - delta)) of each answer, shaped as they are."""
    return logistic(label * (reward - delta))


@dataclass(frozen=True)
class Bco:
    """Binary classifier optimisation: tells desirable from undesirable answers, around the running mean of rewards.

    -log s(beta r_w - delta) - log s(-(beta r_l - delta)), delta the mean of beta r over all answers so far, without gradient: as
    in TRL. The paper's lies midway between the desirable and the undesirable answers' means, the same where either are as many.

    Use it for labelled single answers in place of KTO: it needs no divergence estimate, and its gradient does not vanish for
    answers far on the wrong side. Not when desirable and undesirable answers come from different prompts (the paper's weights
    for that are left out). TRL's paper index prints bco_pair as DPO; its code, followed here, is this with delta = 0.
    """

    beta: float
    name: ClassVar[str] = "bco"
    needs: ClassVar[Need] = Need.LABELS | Need.REFERENCE | Need.WHOLE_BATCH | Need.STATE
    spec: ClassVar[Spec] = Spec("2404.04656")

    def __call__(self, batch: Batch, state: State) -> Result:
        reward, here = self.beta * batch.log_ratio, there(batch)
        new = int(here.sum())
        count = state.count + new
        delta = state.mean + (reward.detach()[here].mean().item() - state.mean) * new / count
        losses = bco_losses(reward, required(batch.label), delta) * here
        return losses.sum(-1), {"delta": delta}, State(count, delta, state.variance)


@dataclass(frozen=True)
class Nca:
    """Noise contrastive alignment: raises the chosen answer's likelihood itself, not only above the rejected one's.

    -log s(beta r_w) - 1/2 log s(-beta r_w) - 1/2 log s(-beta r_l).

    Use it when DPO drives the chosen answers down. The second term holds r_w back too: at beta r_w = log 2 the chosen answer has
    gone as far as it will.
    """

    beta: float
    name: ClassVar[str] = "nca"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2402.05369")

    def __call__(self, batch: Batch, state: State) -> Result:
        reward = self.beta * batch.log_ratio
        return logistic(reward[:, 0]) + 0.5 * softplus(reward).sum(-1), {}, state
