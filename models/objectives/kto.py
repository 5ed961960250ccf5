"""Kahneman-Tversky optimisation."""

from dataclasses import dataclass
from typing import ClassVar

from models.objectives.batch import Batch, Need, Result, Spec, State
from models.objectives.pieces import required, there


@dataclass(frozen=True)
class Kto:
    """Kahneman-Tversky optimisation: desirable answers above, undesirable ones below the policy's present divergence.

    w_d [1 - s(beta (r - z))] where desirable, w_u [1 - s(beta (z - r))] where undesirable, r = log pi - log ref.

    z estimates KL(pi || ref) as the mean log-ratio of answers under prompts they were *not* written for, over the whole batch,
    clamped at 0 and without gradient. The losses of one prompt's answers are summed, so that a pair weighs as two single answers.

    Use it for labelled single answers, or for pairs whose halves should be judged apart; give it batches of many prompts, since a
    z from a few is noisy. With z = 0 and equal weights it is apo_zero_unpaired.
    """

    beta: float
    desirable_weight: float
    undesirable_weight: float
    name: ClassVar[str] = "kto"
    needs: ClassVar[Need] = Need.LABELS | Need.REFERENCE | Need.MISMATCH
    spec: ClassVar[Spec] = Spec("2402.01306 eq. 8")

    def __call__(self, batch: Batch, state: State) -> Result:
        label, other = required(batch.label), batch.aux["mismatch"]
        asked = other.lengths > 0
        z = ((other.logp - other.ref_logp).detach() * asked).sum().div(asked.sum()).clamp(min=0)
        weight = (label > 0) * self.desirable_weight + (label < 0) * self.undesirable_weight
        loss = weight * (-self.beta * label * (batch.log_ratio - z)).sigmoid()
        return (loss * there(batch)).sum(-1), {"kl": z.item()}, state
