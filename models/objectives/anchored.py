"""Anchored preference optimisation, arXiv 2408.06266: says of each answer by itself where its likelihood should go.

With r = log pi - log ref and s the logistic function. The losses are the paper's plus the constant that keeps them in (0, 2),
as in its authors' code; gradients are the same. Weights are s(1 - s), largest at the reference, so a hopeless pair cannot
dominate, and one that has moved far stops learning.
"""

from dataclasses import dataclass
from typing import ClassVar

from models.objectives.batch import Batch, Need, Result, State


@dataclass(frozen=True)
class ApoZero:
    """Eq. 7: [1 - s(beta r_w)] + s(beta r_l). The chosen answer goes up, the rejected one down, independently.

    Use it when the chosen answers are better than what the policy writes, as AI revisions (CLAIR) are.
    """

    beta: float
    name: ClassVar[str] = "apo_zero"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE

    def __call__(self, batch: Batch, state: State) -> Result:
        ratio = self.beta * batch.log_ratio
        return (-ratio[:, 0]).sigmoid() + ratio[:, 1].sigmoid(), {}, state


@dataclass(frozen=True)
class ApoDown:
    """Eq. 8: s(beta r_w) + [1 - s(beta (r_w - r_l))]. Both go down, the rejected one further.

    Use it when the policy already writes better than the chosen answers. At the start the chosen answer's gradient is exactly 0.
    """

    beta: float
    name: ClassVar[str] = "apo_down"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE

    def __call__(self, batch: Batch, state: State) -> Result:
        ratio = self.beta * batch.log_ratio
        return ratio[:, 0].sigmoid() + (ratio[:, 1] - ratio[:, 0]).sigmoid(), {}, state


@dataclass(frozen=True)
class ApoZeroUnpaired:
    """APO-zero for single labelled answers: 1 - s(beta r) where desirable, s(beta r) where undesirable.

    Use it when answers come with a thumb up or down and not in pairs; a prompt's answers are summed, so on pairs it equals
    apo_zero. Unlike KTO it needs no estimate of the divergence, so no extra forward passes (Hugging Face TRL, `kto_trainer.py`).
    """

    beta: float
    name: ClassVar[str] = "apo_zero_unpaired"
    needs: ClassVar[Need] = Need.LABELS | Need.REFERENCE

    def __call__(self, batch: Batch, state: State) -> Result:
        assert batch.label is not None, "declared in needs"
        return (-self.beta * batch.label * batch.log_ratio).sigmoid().sum(-1), {}, state
