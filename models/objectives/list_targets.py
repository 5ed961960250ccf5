"""Scored lists as distributions: softmax of the policy's log-ratios towards softmax of the scores.

With z = log pi - log ref, p = softmax(beta z) and q = softmax(score / temperature) over one prompt's answers.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from models.objectives.batch import Batch, Need, Result, Spec, State
from models.objectives.lists import ABSENT, log_ratio, only, ranking

if TYPE_CHECKING:
    from torch import Tensor


def _distributions(batch: Batch, beta: float, temperature: float) -> "tuple[Tensor, Tensor, Tensor]":
    """log p, log q [B, K] and which answers are there; 0 where one is not."""
    order = ranking(batch)
    policy = (beta * log_ratio(batch, order.here)).masked_fill(~order.here, ABSENT).log_softmax(-1)
    target = (order.level / temperature).masked_fill(~order.here, ABSENT).log_softmax(-1)
    return only(policy, order.here), only(target, order.here), order.here


@dataclass(frozen=True)
class ExoRw:
    """EXO with rewards: the policy's choice among the answers seeks the mode of the scores' softmax.

    The reverse divergence KL(p || q) = sum_i p_i (log p_i - log q_i), p = softmax(beta (log pi - log ref)), q = softmax(score /
    temperature).

    Use it for scored lists when the policy should commit: mass goes to the best few, and answers it has given up stop pulling.
    Not from far off, since the gradient vanishes where the policy is sure of a bad answer. Scores enter as log-odds: bring them
    to about unit spread. A list of equal scores pulls the policy back to the reference among its answers.
    """

    beta: float
    temperature: float
    name: ClassVar[str] = "exo_rw"
    needs: ClassVar[Need] = Need.LIST | Need.REFERENCE | Need.SCORES
    spec: ClassVar[Spec] = Spec("2402.00856", on_policy="recommended")

    def __call__(self, batch: Batch, state: State) -> Result:
        policy, target, here = _distributions(batch, self.beta, self.temperature)
        return only(policy.exp() * (policy - target), here).sum(-1), {}, state


@dataclass(frozen=True)
class InfoNca:
    """InfoNCA: the policy's choice among the answers covers the scores' softmax. The EXO code calls it dpo-rw.

    The cross entropy -sum_i q_i log p_i, p = softmax(beta (log pi - log ref)), q = softmax(score / temperature): KL(q || p) plus
    the entropy of q, so its smallest value is not 0.

    Use it for scored lists when variety matters: every answer with a decent score stays likely. Not when the policy should commit
    early: exo_rw does. With a temperature near 0 it is s_dpo.
    """

    beta: float
    temperature: float
    name: ClassVar[str] = "infonca"
    needs: ClassVar[Need] = Need.LIST | Need.REFERENCE | Need.SCORES
    spec: ClassVar[Spec] = Spec("2402.05369", on_policy="recommended")

    def __call__(self, batch: Batch, state: State) -> Result:
        policy, target, here = _distributions(batch, self.beta, self.temperature)
        return -only(target.exp() * policy, here).sum(-1), {}, state
