"""Objectives without a reference model. m = log pi / n is the mean log-probability of an answer's n tokens.

No loss here looks at a reference. The trainer still takes the start's log-probabilities once, which cost one forward over the
data and no memory: they say how far the policy has moved. Nothing holds it near where it started except the learning rate.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from models.objectives.batch import Answers, Batch, Need, Result, Spec, State
from models.objectives.pieces import difference, hinge, logistic, mean_logp, nll

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Slic:
    """Sequence likelihood calibration from human feedback: a hinge between the answers and imitation of the chosen one.

    max(0, delta - (log pi_w - log pi_l)) + nll_weight (-log pi_w). The NLL is of the sequence; HALOs' code adds it token by token
    to a loss a row, which is taken for a slip of shapes.

    Use it as a cheap start. Not with answers of unequal length: sums favour the shorter one.
    """

    delta: float
    nll_weight: float
    name: ClassVar[str] = "slic"
    needs: ClassVar[Need] = Need.PAIR
    spec: ClassVar[Spec] = Spec("2305.10425")

    def __call__(self, batch: Batch, state: State) -> Result:
        return hinge(difference(batch.logp), self.delta) - self.nll_weight * batch.logp[:, 0], {}, state


@dataclass(frozen=True)
class Cpo:
    """Contrastive preference optimisation: DPO with a uniform reference, and imitation of the chosen answer.

    -log s(beta (log pi_w - log pi_l)) + nll_weight (-m_w).

    Use it where both answers are good and the chosen one better (it comes from translation). Sums favour short answers; `simpo`
    takes means.
    """

    beta: float
    nll_weight: float
    name: ClassVar[str] = "cpo"
    needs: ClassVar[Need] = Need.PAIR
    spec: ClassVar[Spec] = Spec("2401.08417 eq. 3")

    def __call__(self, batch: Batch, state: State) -> Result:
        return logistic(self.beta * difference(batch.logp)) + self.nll_weight * nll(batch), {}, state


@dataclass(frozen=True)
class Simpo:
    """Simple preference optimisation: mean log-probabilities as rewards, and a margin that must be passed.

    -log s(beta (m_w - m_l - gamma_beta_ratio)).

    Use it to do without a reference and to keep length out of the reward; it wants its learning rate and both parameters tuned
    (the authors: 2.5 and 0.55 for Llama 3, 10 and 0.5 for Gemma). Not for many epochs: nothing anchors the policy.
    """

    beta: float
    gamma_beta_ratio: float
    name: ClassVar[str] = "simpo"
    needs: ClassVar[Need] = Need.PAIR
    spec: ClassVar[Spec] = Spec("2405.14734", "recommended", normalised=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        return logistic(self.beta * (difference(mean_logp(batch)) - self.gamma_beta_ratio)), {}, state


@dataclass(frozen=True)
class Orpo:
    """Odds ratio preference optimisation: imitation of the chosen answer, and better odds for it than for the rejected one.

    -m_w - weight log s(log odds_w - log odds_l), odds = p / (1 - p), p = exp(m) the geometric mean probability of a token.

    Use it on a base model, in place of fine-tuning followed by preferences: most of the gradient is imitation. Log-odds have no
    bound as p nears 1, so m is kept below -1e-6.
    """

    weight: float
    name: ClassVar[str] = "orpo"
    needs: ClassVar[Need] = Need.PAIR
    spec: ClassVar[Spec] = Spec("2403.07691", normalised=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        mean = mean_logp(batch).clamp(max=-1e-6)
        log_odds = difference(mean - (-mean.expm1()).log())
        return nll(batch) + self.weight * logistic(log_odds), {"log_odds": log_odds.mean().item()}, state


@dataclass(frozen=True)
class Mapo:
    """Margin-aware preference optimisation, carried over from diffusion: imitation and a bounded margin, without a reference.

    l_w - beta log s(T (f(l_w) - f(l_l))), f(l) = c l / (exp(c l) - 1), l = -m. Reconstructed for text: l is the mean NLL a token,
    and T = 1 (the paper, on noise errors near 0, has 1000).

    Use it like `orpo`, to which it is close. f saturates for unlikely answers, so a rejected one that is hopeless stops pulling.
    """

    beta: float
    curvature: float
    temperature: float
    name: ClassVar[str] = "mapo"
    needs: ClassVar[Need] = Need.PAIR
    spec: ClassVar[Spec] = Spec("2406.06424", normalised=True, reconstructed=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        x = self.curvature * (-mean_logp(batch)).clamp(min=1e-6)
        amplified = x * (-x).exp() / -(-x).expm1()  # x / (exp(x) - 1) without its overflow
        return nll(batch) + self.beta * logistic(self.temperature * difference(amplified)), {}, state


def _gold(batch: Batch) -> "Tensor":
    gold: Answers = batch.aux["gold"]
    return -(gold.logp / gold.lengths)[:, 0]


@dataclass(frozen=True)
class TriplePo:
    """Triple preference optimisation: a gold answer to imitate, and a chosen to tell from a rejected one, in one step.

    -log s(beta (log pi_w - log pi_l)) + nll_weight (-m_gold).

    Use it to replace fine-tuning followed by preferences, when a third, gold answer is at hand (it may be the chosen one; then it
    is `cpo`). Defaults are TRL's; the authors' script has beta 0.1, weight 0.5.
    """

    beta: float
    nll_weight: float
    name: ClassVar[str] = "triple_po"
    needs: ClassVar[Need] = Need.PAIR | Need.GOLD
    spec: ClassVar[Spec] = Spec("2405.16681")

    def __call__(self, batch: Batch, state: State) -> Result:
        return logistic(self.beta * difference(batch.logp)) + self.nll_weight * _gold(batch), {}, state


@dataclass(frozen=True)
class TriplePoL:
    """Triple preference optimisation on means over tokens, with a margin that must be passed.

    -log s(beta (m_w - m_l) - gamma) + nll_weight (-m_gold).

    Use it in place of `triple_po` when answers grow longer. With gamma the whole of the logit at beta 0.01, the pair's pull is
    nearly constant; raise beta (SimPO's is 2) to let it see the answers.
    """

    beta: float
    gamma: float
    nll_weight: float
    name: ClassVar[str] = "triple_po_l"
    needs: ClassVar[Need] = Need.PAIR | Need.GOLD
    spec: ClassVar[Spec] = Spec("2405.16681", normalised=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        margin = self.beta * difference(mean_logp(batch)) - self.gamma
        return logistic(margin) + self.nll_weight * _gold(batch), {}, state
