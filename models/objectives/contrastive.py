"""Objectives on the difference h = r_w - r_l of the log-ratios r = log pi - log ref of chosen and rejected answer.

s is the logistic function. Where nothing else is said, only h is constrained, so both answers may become less likely.
"""

from dataclasses import dataclass
from typing import ClassVar

from models.objectives.batch import Batch, Need, Result, Spec, State
from models.objectives.pieces import difference, hinge, logistic, mean_ratio, required


@dataclass(frozen=True)
class Dpo:
    """Direct preference optimisation: the logistic loss of the difference.

    -log s(beta h).

    The baseline to compare with. Only the difference is constrained: watch the chosen log-ratio. The gradient does not vanish for
    pairs ranked wrongly, so mislabelled pairs pull hard (then cdpo or robust), and large learning rates can make it collapse.
    """

    beta: float
    name: ClassVar[str] = "dpo"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2305.18290 eq. 7", "recommended")

    def __call__(self, batch: Batch, state: State) -> Result:
        return logistic(self.beta * difference(batch.log_ratio)), {}, state


@dataclass(frozen=True)
class DpoNorm:
    """DPO on log-ratios per token, so that long answers have no more say than short ones.

    -log s(beta (r_w / n_w - r_l / n_l)), n the answers' tokens.

    Use it when DPO makes answers longer. A ratio per token is small, so beta is tens of times DPO's. Not when the answers of a
    pair differ in one place only: the difference is then thinned by all the tokens around it.
    """

    beta: float
    name: ClassVar[str] = "dpo_norm"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2411.15124 (Tulu 3)", "recommended", normalised=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        return logistic(self.beta * difference(mean_ratio(batch))), {}, state


@dataclass(frozen=True)
class Hinge:
    """DPO with the hinge loss: a pair that is apart far enough no longer pulls.

    max(0, 1 - beta h), SLiC's link on DPO's margin (RSO calls it hinge-norm; there with gamma in place of beta).

    Use it when DPO keeps pushing pairs it has long learnt. The gradient is constant until it stops, so noisy labels pull as hard
    as good ones.
    """

    beta: float
    name: ClassVar[str] = "hinge"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2309.06657; 2305.10425")

    def __call__(self, batch: Batch, state: State) -> Result:
        return hinge(self.beta * difference(batch.log_ratio)), {}, state


@dataclass(frozen=True)
class RDpo:
    """DPO with length regularised: what a longer chosen answer wins by its length does not count for the policy.

    -log s(beta h + alpha (n_w - n_l)), n the answers' tokens: DPO for the reward less alpha a token. A longer chosen answer pulls
    less, a shorter one more.

    Reconstructed; third-party code and `reference/objectives.md` have the sign of alpha the other way round, which pays for
    length (alpha = -0.05 reproduces their value). Use it when the data's bias to length shows in the policy; not with answers of
    very unequal length, where alpha times the gap drowns h.
    """

    beta: float
    alpha: float
    name: ClassVar[str] = "r_dpo"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2403.19159", reconstructed=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        return logistic(self.beta * difference(batch.log_ratio) + self.alpha * difference(batch.lengths)), {}, state


@dataclass(frozen=True)
class Odpo:
    """DPO with an offset: the further apart the judge's scores, the further apart the answers have to be.

    -log s(beta h - Delta), Delta = alpha log(score_w - score_l). Reconstructed from memory: the logarithm, and alpha 1. Gaps
    below 1e-3 count as 1e-3 (the logarithm has no bottom); where a score is unknown the offset is 0, which is DPO.

    Use it with scores on a scale where a gap of 1 means something. Not with scores in 0..1: all offsets are then negative.
    """

    beta: float
    alpha: float
    name: ClassVar[str] = "odpo"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE | Need.SCORES
    spec: ClassVar[Spec] = Spec("2402.10571", reconstructed=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        offset = self.alpha * difference(required(batch.score)).clamp(min=1e-3).log().nan_to_num(0.0)
        return logistic(self.beta * difference(batch.log_ratio) - offset), {}, state


@dataclass(frozen=True)
class MinorDpo:
    """DPO that leaves a rejected answer alone once it is less likely than under the reference.

    -log s(beta (r_w - max(0, r_l))).

    Use it when DPO drives both answers down. Once r_l < 0 it is imitation of the chosen answer with a soft stop. Not with chosen
    answers that are poor: nothing else holds them. (The formula is as in third-party code.)
    """

    beta: float
    name: ClassVar[str] = "minor_dpo"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2408.09834")

    def __call__(self, batch: Batch, state: State) -> Result:
        ratio = batch.log_ratio
        return logistic(self.beta * (ratio[:, 0] - ratio[:, 1].clamp(min=0))), {}, state


@dataclass(frozen=True)
class Dove:
    """DPO across prompts: prefers one prompt-and-answer to another prompt-and-answer.

    -log s(beta [r(y_1|x_1) - r(y_2|x_2)]); with x_1 = x_2 it is DPO.

    Use it where judges compared answers to different prompts ("which of these two is handled better?"). Not for ordinary pairs,
    where it is DPO; comparisons across prompts also measure which prompt is easier. The two answers share no beginning that would
    cancel, so rejected ones fall further than with DPO (by 32 nats on the embedded world, where the score rose): then put
    wrappers.nll_anchor beside it.
    """

    beta: float
    name: ClassVar[str] = "dove"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE | Need.TWO_PROMPTS
    spec: ClassVar[Spec] = Spec("2404.00530")

    def __call__(self, batch: Batch, state: State) -> Result:
        return logistic(self.beta * difference(batch.log_ratio)), {}, state
