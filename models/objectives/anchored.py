"""Anchored preference optimisation, arXiv 2408.06266: says of each answer by itself where its likelihood should go.

With r = log pi - log ref and s the logistic function. The losses are the paper's plus the constant that keeps them in (0, 2),
as in its authors' code; gradients are the same. Weights are s(1 - s), largest at the reference, so a hopeless pair cannot
dominate, and one that has moved far stops learning.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from models.objectives.batch import Batch, Need, Result, Spec, State
from models.objectives.pieces import required, there

if TYPE_CHECKING:
    from torch import Tensor


def zero(reward: "Tensor") -> "Tensor":
    return (-reward[:, 0]).sigmoid() + reward[:, 1].sigmoid()


def down(reward: "Tensor") -> "Tensor":
    return reward[:, 0].sigmoid() + (reward[:, 1] - reward[:, 0]).sigmoid()


@dataclass(frozen=True)
class ApoZero:
    """Anchored preference optimisation, zero: the chosen answer goes up, the rejected one down, independently.

    [1 - s(beta r_w)] + s(beta r_l).

    Use it when the chosen answers are better than what the policy writes, as AI revisions (CLAIR) are. Not when the policy
    already writes better: then apo_down, or apo_auto to decide pair by pair.
    """

    beta: float
    name: ClassVar[str] = "apo_zero"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2408.06266 eq. 7", "recommended")

    def __call__(self, batch: Batch, state: State) -> Result:
        return zero(self.beta * batch.log_ratio), {}, state


@dataclass(frozen=True)
class ApoDown:
    """Anchored preference optimisation, down: both answers go down, the rejected one further.

    s(beta r_w) + [1 - s(beta (r_w - r_l))].

    Use it when the policy already writes better than the chosen answers. At the start the chosen answer's gradient is exactly 0.
    Not on revisions by a stronger model or the best of the policy's own answers, which it would unlearn: rounds refuse it there
    unless `even_if_chosen_is_better` asks for it.
    """

    beta: float
    name: ClassVar[str] = "apo_down"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2408.06266 eq. 8", "recommended")

    def __call__(self, batch: Batch, state: State) -> Result:
        return down(self.beta * batch.log_ratio), {}, state


@dataclass(frozen=True)
class ApoZeroUnpaired:
    """APO-zero for single labelled answers.

    1 - s(beta r) where desirable, s(beta r) where undesirable; a prompt's answers are summed, so on pairs it equals apo_zero.

    Use it when answers come with a thumb up or down and not in pairs. Unlike KTO it needs no estimate of the divergence, so no
    extra forward passes.
    """

    beta: float
    name: ClassVar[str] = "apo_zero_unpaired"
    needs: ClassVar[Need] = Need.LABELS | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2408.06266; TRL kto_trainer.py")

    def __call__(self, batch: Batch, state: State) -> Result:
        losses = (-self.beta * required(batch.label) * batch.log_ratio).sigmoid()
        return (losses * there(batch)).sum(-1), {}, state


@dataclass(frozen=True)
class ApoAuto:
    """APO that chooses zero or down for each pair: zero where the chosen answer beats what the policy itself writes.

    apo_zero where score_w > the running mean score of the policy's own answers, apo_down elsewhere. The paper gives the
    criterion, for a data set as a whole; deciding it for each pair, against a running mean, is plumbline's.

    `own` says which answers are the policy's: the rejected ones (revisions: the original is the policy's) or both (judged
    samples); rounds refuse what their method contradicts. The mean is over all such scores so far, those of the present batch
    included. Where the chosen answer's score is unknown it is zero, the paper's choice for revisions. Use it when the policy
    catches up with its teacher during rounds. Not with scores that are comparable within a prompt only.
    """

    beta: float
    own: Literal["rejected", "both"]
    name: ClassVar[str] = "apo_auto"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE | Need.SCORES | Need.WHOLE_BATCH | Need.STATE
    spec: ClassVar[Spec] = Spec("2408.06266 eqs. 7, 8, chosen for each pair", "recommended")

    def __call__(self, batch: Batch, state: State) -> Result:
        score = required(batch.score)
        own = (score if self.own == "both" else score[:, 1:]).double()
        own = own[own.isfinite()]
        count = state.count + own.numel()
        mean = state.mean + (own - state.mean).sum().item() / max(count, 1)
        up = ~(score[:, 0] <= (mean if count else -math.inf))  # true for NaN
        reward = self.beta * batch.log_ratio
        losses = up * zero(reward) + ~up * down(reward)
        share = up.to(losses.dtype).mean().item()
        return losses, {"share_zero": share, "policy_score": mean}, State(count, mean, state.variance)
