"""DPO's relatives with another divergence or another link on h = r_w - r_l, r = log pi - log ref."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from models.objectives.batch import Batch, Need, Result, Spec, State
from models.objectives.pieces import bounded_exp, difference, logistic

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Fdpo:
    """DPO with another divergence from the reference than the reverse KL.

    -log s(beta (g(r_w) - g(r_l))) with g the divergence's f'(pi / ref), constants left out: reverse_kl r (DPO itself),
    forward_kl -exp(-r), js log s(r), alpha -exp(-(1 - alpha) r) / (1 - alpha), between the two KLs for 0 < alpha < 1: near 1 the
    reverse one, as in TRL (the paper counts from the other end: 1 - alpha there).

    Use it to keep the answers' diversity: towards forward KL, answers the reference likes may not become unlikely. Not on
    off-policy data with forward KL: g grows exponentially once pi < ref, in exponents above 40 as a straight line (TRL does not
    bound the forward KL at all). With js a small beta drives both answers down, since g has a ceiling at log 1 and no floor.
    """

    beta: float
    divergence: Literal["reverse_kl", "forward_kl", "js", "alpha"]
    alpha: float
    name: ClassVar[str] = "fdpo"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2309.16240")

    def __call__(self, batch: Batch, state: State) -> Result:
        return logistic(self.beta * difference(self._transform(batch.log_ratio))), {}, state

    def _transform(self, ratio: "Tensor") -> "Tensor":
        if self.divergence == "forward_kl":
            return -bounded_exp(-ratio)
        if self.divergence == "js":
            return -logistic(ratio)
        if self.divergence == "alpha":
            return -bounded_exp(-(1 - self.alpha) * ratio) / (1 - self.alpha)
        return ratio


@dataclass(frozen=True)
class Exo:
    """Efficient exact optimisation: the reverse KL from the policy's preference to the label's, so that it seeks a mode.

    q [log q - log(1 - eps)] + (1 - q) [log(1 - q) - log eps], q = s(beta h), eps = label_smoothing.

    The label is (1 - eps, eps) as in TRL, a distribution; the authors' code has log-probabilities 0 and -10, which is none.
    Use it instead of DPO with many answers a prompt from the policy. The gradient vanishes for pairs ranked very wrongly.
    """

    beta: float
    label_smoothing: float
    name: ClassVar[str] = "exo"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2402.00856 eq. 16", "recommended")

    def __call__(self, batch: Batch, state: State) -> Result:
        margin, eps = self.beta * difference(batch.log_ratio), self.label_smoothing
        right = -logistic(margin) - math.log1p(-eps)
        wrong = -logistic(-margin) - math.log(eps)
        return margin.sigmoid() * right + (-margin).sigmoid() * wrong, {}, state


@dataclass(frozen=True)
class DiscoPop:
    """A loss that a language model discovered: logistic where the pair is wrong, exponential where it is right.

    (1 - m) (-log s(z)) + m exp(-z), z = beta h, m = s(z / tau).

    Neither convex nor monotone: at tau 0.05 it has a local minimum at z = -0.12 and a maximum at 0.07, so from the reference
    itself the margin first *falls*, and only pairs that others throw past the maximum are learnt. m exp(-z) is computed as one
    exponential, exp(log m - z), which cannot overflow for tau < 1 (apart, exp(-z) does).

    Use it to reproduce the paper; keep tau at 0.05. Not as a default. beta is 1 here and 0.05 in the paper, where the maximum
    lies 1.4 nats away and noise does not reach it.
    """

    beta: float
    tau: float
    name: ClassVar[str] = "discopop"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2406.08414 eq. 5")

    def __call__(self, batch: Batch, state: State) -> Result:
        z = self.beta * difference(batch.log_ratio)
        return (-z / self.tau).sigmoid() * logistic(z) + (-logistic(z / self.tau) - z).exp(), {}, state
