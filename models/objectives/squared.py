"""Objectives that regress log-ratios r = log pi - log ref on a target, so that there is a best margin and not ever more of it.

Their gradients are of the order of the target, 1 / beta: gradient clipping is not optional.
"""

from dataclasses import dataclass
from typing import ClassVar

from models.objectives.batch import Batch, Need, Result, Spec, State
from models.objectives.pieces import difference, logistic, mean_ratio, required, win_rates


@dataclass(frozen=True)
class IpoSum:
    """Identity preference optimisation: the difference of the log-ratios is drawn to 1 / (2 tau).

    (r_w - r_l - 1 / (2 tau))^2, on sums over tokens, as printed and as in eric-mitchell's code. `ipo_mean` is the other form;
    tools call both "ipo", and their tau mean different things.

    Use it when preferences are nearly deterministic, where DPO has no optimum. Not with answers of very unequal length.
    """

    tau: float
    name: ClassVar[str] = "ipo_sum"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2310.12036 eq. 17")

    def __call__(self, batch: Batch, state: State) -> Result:
        return (difference(batch.log_ratio) - 1 / (2 * self.tau)).square(), {}, state


@dataclass(frozen=True)
class IpoMean:
    """IPO on log-ratios per token, as TRL and HALOs have it.

    (r_w / n_w - r_l / n_l - 1 / (2 tau))^2, n the answers' tokens. TRL's authors report that the paper's own results were had so.

    Use it in place of `ipo_sum` when lengths vary. The target is in nats *a token*: with tau 0.1 it is 5, which no text reaches,
    so that it then only sets how hard to push.
    """

    tau: float
    name: ClassVar[str] = "ipo_mean"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2310.12036 eq. 17, per token as in TRL", normalised=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        return (difference(mean_ratio(batch)) - 1 / (2 * self.tau)).square(), {}, state


@dataclass(frozen=True)
class SppoHard:
    """Self-play preference optimisation with the winner's win rate taken as 1 and the loser's as 0.

    (r_w - 1 / (2 beta))^2 + (r_l + 1 / (2 beta))^2, as in TRL; the authors' code halves it, as `sppo_soft` does.

    Use it in rounds on the policy's own samples with reference `previous`. Small beta means far targets: the authors' 1e-3 asks
    for 500 nats on each side and relies on a tiny learning rate and early stopping.
    """

    beta: float
    name: ClassVar[str] = "sppo_hard"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE | Need.ON_POLICY
    spec: ClassVar[Spec] = Spec("2405.00675 eq. 4.7", "required", from_previous=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        target = 0.5 / self.beta
        ratio = batch.log_ratio
        return (ratio[:, 0] - target).square() + (ratio[:, 1] + target).square(), {}, state


@dataclass(frozen=True)
class SppoSoft:
    """Self-play preference optimisation: each answer's log-ratio is drawn to its win rate above one half, over beta.

    mean over answers of (r - (P - 1/2) / beta)^2, P an answer's mean win probability against the others: in a pair the one other,
    where the authors average over 5 samples.

    Use it in rounds on the policy's own samples with reference `previous` and a judge that gives probabilities; it also copes
    with preferences that go round in circles. About beta see `sppo_hard`.
    """

    beta: float
    name: ClassVar[str] = "sppo_soft"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE | Need.WIN_PROBABILITIES | Need.ON_POLICY
    spec: ClassVar[Spec] = Spec("2405.00675 eq. 4.7", "required", from_previous=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        return (batch.log_ratio - (win_rates(batch) - 0.5) / self.beta).square().mean(-1), {}, state


@dataclass(frozen=True)
class Gpo:
    """General preference optimisation: SPPO on preference scores, which are not squeezed into 0..1.

    mean over answers of (r - S / beta)^2, S an answer's mean score against the others (in a pair the one other), S_ij =
    logit P_ij (with P kept within 0.001 and 0.999). Reconstructed: the squared form is from memory, and the scores of the
    paper's own preference model are replaced by logits of a judge's win probabilities.

    Use it like `sppo_soft` when sure preferences should count for more than in proportion. About beta see `sppo_hard`.
    """

    beta: float
    name: ClassVar[str] = "gpo"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE | Need.WIN_PROBABILITIES | Need.ON_POLICY
    spec: ClassVar[Spec] = Spec("2410.02197", "required", from_previous=True, reconstructed=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        score = required(batch.win_prob).logit(eps=1e-3)
        others = score.shape[-1] - 1
        mean = (score.sum(-1) - score.diagonal(dim1=-2, dim2=-1)) / others
        return (batch.log_ratio - mean / self.beta).square().mean(-1), {}, state


@dataclass(frozen=True)
class CalDpo:
    """Calibrated DPO: DPO, with each log-ratio also drawn to a value of its own, so that the chosen one cannot fall.

    -log s(r_w - r_l) + 1/2 [(r_w - 1 / (2 beta))^2 + (r_l + 1 / (2 beta))^2].

    The logistic term has no beta, as in the authors' code; beta sets only the targets, and their 1e-3 asks for 500 nats, beside
    which the logistic term is nothing. Use it when DPO lowers the chosen answers' likelihood; raise beta to keep closer.
    """

    beta: float
    name: ClassVar[str] = "cal_dpo"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2412.14516")

    def __call__(self, batch: Batch, state: State) -> Result:
        ratio, target = batch.log_ratio, 0.5 / self.beta
        calibration = (ratio[:, 0] - target).square() + (ratio[:, 1] + target).square()
        return logistic(difference(ratio)) + 0.5 * calibration, {}, state
