"""Objectives on the difference between chosen and rejected."""

from dataclasses import dataclass
from typing import ClassVar

from models.objectives.batch import Batch, Need, Result, State, softplus


@dataclass(frozen=True)
class Dpo:
    """Direct preference optimisation, arXiv 2305.18290 eq. 7: -log s(beta (r_w - r_l)), r = log pi - log ref.

    Only the difference is constrained, so both answers may become less likely: watch the chosen log-ratio. The gradient does
    not vanish for pairs ranked wrongly, so mislabelled pairs pull hard, and large learning rates can make it collapse.
    """

    beta: float
    name: ClassVar[str] = "dpo"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE

    def __call__(self, batch: Batch, state: State) -> Result:
        ratio = batch.log_ratio
        return softplus(-self.beta * (ratio[:, 0] - ratio[:, 1])), {}, state
