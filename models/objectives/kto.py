"""Kahneman-Tversky optimisation."""

from dataclasses import dataclass
from typing import ClassVar

from models.objectives.batch import Batch, Need, Result, State


@dataclass(frozen=True)
class Kto:
    """ArXiv 2402.01306 eq. 8: w_d [1 - s(beta (r - z))] where desirable, w_u [1 - s(beta (z - r))] where undesirable.

    r = log pi - log ref. z estimates KL(pi || ref) as the mean log-ratio of answers under prompts they were *not* written for,
    over the whole batch, clamped at 0 and without gradient. The losses of one prompt's answers are summed, so that a pair weighs
    as two rows.

    Use it for labelled single answers, or for pairs whose halves should be judged apart; give it batches of many prompts, since a
    z from a few is noisy. With z = 0 and equal weights it is apo_zero_unpaired.
    """

    beta: float
    desirable_weight: float
    undesirable_weight: float
    name: ClassVar[str] = "kto"
    needs: ClassVar[Need] = Need.LABELS | Need.REFERENCE | Need.MISMATCH

    def __call__(self, batch: Batch, state: State) -> Result:
        assert batch.label is not None, "declared in needs"
        other = batch.aux["mismatch"]
        z = (other.logp - other.ref_logp).detach().mean().clamp(min=0)
        weight = (batch.label > 0) * self.desirable_weight + (batch.label < 0) * self.undesirable_weight
        loss = weight * (-self.beta * batch.label * (batch.log_ratio - z)).sigmoid()
        return loss.sum(-1), {"kl": z.item()}, state
