"""Objectives with a second term: imitation, calibration, or further answers that come with the pair."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from models.objectives.batch import Batch, Need, Objective, Result, Spec, State
from models.objectives.contrastive import Dpo
from models.objectives.kto import Kto
from models.objectives.pieces import difference, logistic, nll, required
from models.objectives.sided import bco_losses
from models.objectives.squared import IpoSum

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Rpo:
    """Iterative reasoning preference optimisation: DPO and imitation of the chosen answer.

    -log s(beta h) + nll_weight (-log pi_w / n_w).

    Use it when the chosen answers are right and DPO lowers their likelihood, as in reasoning. With weight 0 it is DPO; not with
    chosen answers that are merely less bad.
    """

    beta: float
    nll_weight: float
    name: ClassVar[str] = "rpo"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2404.19733", "recommended")

    def __call__(self, batch: Batch, state: State) -> Result:
        return logistic(self.beta * difference(batch.log_ratio)) + self.nll_weight * nll(batch), {}, state


@dataclass(frozen=True)
class Mpo:
    """Mixed preference optimisation: the pair's preference, each answer's quality, and imitation, as a weighted sum.

    preference (-log s(beta h)) + quality (-log s(beta r_w) - log s(-beta r_l)) + generation (-log pi_w / n_w).

    The quality term is BCO's without its running mean. Use it when one term alone drifts (it comes from multimodal reasoning);
    three weights are three more things to tune.
    """

    beta: float
    preference: float
    quality: float
    generation: float
    name: ClassVar[str] = "mpo"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2411.10442")

    def __call__(self, batch: Batch, state: State) -> Result:
        reward = self.beta * batch.log_ratio
        quality = bco_losses(reward, reward.new_tensor([1.0, -1.0]), 0.0).sum(-1)
        losses = self.preference * logistic(difference(reward)) + self.quality * quality + self.generation * nll(batch)
        return losses, {}, state


@dataclass(frozen=True)
class RationaleDpo:
    """DPO that also learns to say why: a rationale for the preference, written after prompt and both answers.

    -log s(beta h) - log s(gamma log pi(rationale | x, y_w, y_l)), the rationale's log-probability summed.

    As in the authors' code; the logistic of a log-probability is nearly linear, so it is imitation with weight gamma. Use it when
    pairs come with reasons. Not with reasons written by rote: the policy learns the rote.
    """

    beta: float
    gamma: float
    name: ClassVar[str] = "rationale_dpo"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE | Need.RATIONALE
    spec: ClassVar[Spec] = Spec("2407.14477")

    def __call__(self, batch: Batch, state: State) -> Result:
        rationale = batch.aux["rationale"].logp[:, 0]
        return logistic(self.beta * difference(batch.log_ratio)) + logistic(self.gamma * rationale), {}, state


@dataclass(frozen=True)
class Bapo:
    """Base-anchored preference optimisation: DPO that keeps the base model's own answer as likely as it was.

    -log s(beta h) + weight max(0, log ref_b - log pi_b) / n_b, y_b a sample of the base model.

    Reconstructed from the abstract: a hinge a token, and its weight. Use it when a model aligned to one user or task should not
    forget the rest. Costs one more answer a prompt.
    """

    beta: float
    weight: float
    name: ClassVar[str] = "bapo"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE | Need.BASE
    spec: ClassVar[Spec] = Spec("2407.00693", "recommended", reconstructed=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        base = batch.aux["base"]
        forgotten = ((base.ref_logp - base.logp).clamp(min=0) / base.lengths)[:, 0]
        losses = logistic(self.beta * difference(batch.log_ratio)) + self.weight * forgotten
        return losses, {"forgotten": forgotten.mean().item()}, state


@dataclass(frozen=True)
class Mapl:
    """Multi-level preference learning for instructions: the same answer is worth less under an instruction it does not meet.

    DPO + intra_weight (-log s(beta [r(x, y_w) - r(x', y_w)])) + inter_weight (-log s(beta [h(x) - h(x')])), x' the prompt with
    one instruction changed or added, so that y_w no longer meets it.

    Reconstructed from the abstract: both weights are assumed, and the weaker of the two pairs is taken to be the same pair under
    x'. Use it to teach following of composed instructions. Not where x' leaves the answer right after all.
    """

    beta: float
    intra_weight: float
    inter_weight: float
    name: ClassVar[str] = "mapl"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE | Need.REPROMPT
    spec: ClassVar[Spec] = Spec("2505.12845", reconstructed=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        ratio, changed = self.beta * batch.log_ratio, batch.aux["reprompt"]
        other = self.beta * (changed.logp - changed.ref_logp)
        losses = logistic(difference(ratio)) + self.intra_weight * logistic(ratio[:, 0] - other[:, 0])
        return losses + self.inter_weight * logistic(difference(ratio) - difference(other)), {}, state


@dataclass(frozen=True)
class UpoUnified:
    """Unified preference optimisation: a preference loss, and imitation of answers good by some other measure.

    L_base + gamma sum over answers of exp(A / temperature) (-log pi), no gradient in the weight, which is at most max_weight.

    A = `aux_adv` where given; else the answer's score minus the expectile of the scores of its prompt's answers (for the paper's
    value network). Answers of unknown advantage are not imitated. Reconstructed: constants assumed.

    Use it to add a reward that nobody compared answers by (length, safety, reading ease) without sampling. Not with all answers
    poor: with two answers even the worse is imitated, with weight exp(A) < 1. `base` is dpo, kto or ipo (sums, tau = beta).
    """

    base: Literal["dpo", "kto", "ipo"]
    beta: float
    gamma: float
    temperature: float
    expectile: float
    max_weight: float
    name: ClassVar[str] = "upo_unified"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE | Need.SCORES
    spec: ClassVar[Spec] = Spec("2405.17956", "recommended", reconstructed=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "needs", self.needs | self._base().needs)

    def _base(self) -> Objective:
        bases: dict[str, Objective] = {"dpo": Dpo(self.beta), "kto": Kto(self.beta, 1.0, 1.0), "ipo": IpoSum(self.beta)}
        return bases[self.base]

    def __call__(self, batch: Batch, state: State) -> Result:
        losses, figures, state = self._base()(batch, state)
        score = required(batch.score)
        advantage = batch.aux_adv if batch.aux_adv is not None else score - expectile(score, self.expectile)[:, None]
        weight = (advantage.detach() / self.temperature).clamp(max=math.log(self.max_weight)).exp().nan_to_num(0.0)
        return losses + self.gamma * (weight * -batch.logp).sum(-1), figures | {"weight": weight.mean().item()}, state


def expectile(values: "Tensor", tau: float) -> "Tensor":
    """[B] the tau-expectile of each row of `values` [B, K], NaN left out: the v at which tau times the mean excess above v equals
    1 - tau times that below. tau 1/2 is the mean, tau towards 1 the maximum."""
    known = values.isfinite()
    low, high = values.nan_to_num(math.inf).amin(-1), values.nan_to_num(-math.inf).amax(-1)
    for _ in range(60):
        v = (low + high) / 2
        away = (values - v[:, None]).where(known, 0.0)
        above = tau * away.clamp(min=0).sum(-1) > (tau - 1) * away.clamp(max=0).sum(-1)
        low, high = v.where(above, low), high.where(above, v)
    return (low + high) / 2
