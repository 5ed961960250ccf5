"""Objectives that do not take every label at its word. h = r_w - r_l as in `contrastive`."""

import math
from dataclasses import dataclass
from typing import ClassVar

from models.objectives.batch import Batch, Need, Result, Spec, State
from models.objectives.pieces import difference, logistic, nll, required, soft_label, win_rates


@dataclass(frozen=True)
class Cdpo:
    """Conservative DPO: a share of the labels is assumed wrong, so no pair is pushed apart for ever.

    -(1 - eps) log s(beta h) - eps log s(-beta h); the optimum is s(beta h) = 1 - eps.

    Use it with noisy labels, or when DPO's margins run away. Not when the labels are clean and sparse: it stops early.
    """

    beta: float
    label_smoothing: float
    name: ClassVar[str] = "cdpo"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("Mitchell 2023, note on DPO with noisy preferences")

    def __call__(self, batch: Batch, state: State) -> Result:
        return soft_label(self.beta * difference(batch.log_ratio), 1 - self.label_smoothing), {}, state


@dataclass(frozen=True)
class Robust:
    """Robust DPO: noise of a known rate is taken out, so that the mean loss is that of clean labels.

    [-(1 - eps) log s(beta h) + eps log s(-beta h)] / (1 - 2 eps), eps < 1/2. May be negative.

    Use it when the rate of flipped labels is known. Not when it is guessed: as it falls without end in h, it pushes harder than
    DPO, the more so the larger eps.
    """

    beta: float
    label_smoothing: float
    name: ClassVar[str] = "robust"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2403.00409")

    def __call__(self, batch: Batch, state: State) -> Result:
        margin, eps = self.beta * difference(batch.log_ratio), self.label_smoothing
        return ((1 - eps) * logistic(margin) - eps * logistic(-margin)) / (1 - 2 * eps), {}, state


@dataclass(frozen=True)
class Rosepo:
    """DPO with a smoothing of its own for each pair, from how sure an oracle is of its label.

    -p log s(beta h) - (1 - p) log s(-beta h), p = `confidence`. Reconstructed: the paper's smoothing is personal (to a user of a
    recommender); taken as 1 - p with the oracle's probability p. Its rules for drawing negatives belong to the data.

    Use it when a judge gives probabilities. With p = 1 it is DPO.
    """

    beta: float
    name: ClassVar[str] = "rosepo"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE | Need.CONFIDENCE
    spec: ClassVar[Spec] = Spec("2410.12519", reconstructed=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        return soft_label(self.beta * difference(batch.log_ratio), required(batch.confidence)), {}, state


@dataclass(frozen=True)
class Osp:
    """Optimising on self-judged samples: cross entropy to how strongly the policy itself prefers one of its answers.

    -p log s(beta h) - (1 - p) log s(-beta h), p = `confidence`, the self-judged strength. Reconstructed from the abstract.

    Use it where no stronger judge is at hand, on the policy's own samples. Not off-policy: the strengths are about its own.
    """

    beta: float
    name: ClassVar[str] = "osp"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE | Need.CONFIDENCE | Need.ON_POLICY
    spec: ClassVar[Spec] = Spec("2405.14103", "required", reconstructed=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        return soft_label(self.beta * difference(batch.log_ratio), required(batch.confidence)), {}, state


@dataclass(frozen=True)
class Dno:
    """Direct Nash optimisation: on-policy regression of the margin on the difference in expected win rate.

    -p log s(eta h) - (1 - p) log s(-eta h), algorithm 1, with p = s(R_w - R_l) and R an answer's win probability against the
    pair's other one (the paper's is the mean over the policy's samples); `practical` is DNO-Prct, p = 1: DPO each round on pairs
    whose winner is good and whose gap is wide (positive at least 5 of 6, gap at least 2), the reference being the round's first
    policy.

    Use it in rounds, with reference `previous`. As win rates lie in 0..1, the ideal targets are all within 0.27..0.73, so that
    the exact form learns slowly.
    """

    eta: float
    practical: bool
    name: ClassVar[str] = "dno"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE | Need.ON_POLICY
    spec: ClassVar[Spec] = Spec("2404.03715 eq. 8", "required", from_previous=True)

    def __post_init__(self) -> None:
        if not self.practical:
            object.__setattr__(self, "needs", self.needs | Need.WIN_PROBABILITIES)

    def __call__(self, batch: Batch, state: State) -> Result:
        p = 1.0 if self.practical else difference(win_rates(batch)).sigmoid()
        return soft_label(self.eta * difference(batch.log_ratio), p), {}, state


@dataclass(frozen=True)
class Smpo:
    """Smoothed preference: the margin is scaled by how sure the label is.

    -log s((2 p - 1) beta h), p = `confidence`: no gradient where p = 1/2, and the label turned round below it. Made for diffusion
    models (there beta 5000), where p is the softmax of reward scores; carried over to log-ratios of answers.

    Use it with a judge's probabilities, to let doubtful pairs count less. Unlike cross entropy to p it sets no optimum margin.
    """

    beta: float
    name: ClassVar[str] = "smpo"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE | Need.CONFIDENCE
    spec: ClassVar[Spec] = Spec("2506.02698")

    def __call__(self, batch: Batch, state: State) -> Result:
        scale = 2 * required(batch.confidence) - 1
        return logistic(scale * self.beta * difference(batch.log_ratio)), {}, state


@dataclass(frozen=True)
class UpoUncertainty:
    """Uncertainty-enhanced preference optimisation, repaired: the less sure the judge, the softer the label.

    cDPO with eps = B / (2 ln 2) for each pair, plus nll_weight times the chosen answer's NLL a token. B is the judge's mutual
    information (BALD), H(mean p) - mean H(p), from dropout or an ensemble.

    Reconstructed and repaired. As printed (eq. 12) eps = 1 / (P + 1) with P a sampling probability, near 1 for all, which turns
    nearly every label round; the likelihood has the wrong sign; and the temperature of P cancels. Assumed: eps from 0 (sure) to
    1/2 (no idea), and nll_weight as in iterative RPO (arXiv 2404.19733). The matching sampling weights are proportional to
    (1 - B)^mu.

    Use it in rounds with reference `previous` and a judge whose doubt is measured.
    """

    beta: float
    nll_weight: float
    name: ClassVar[str] = "upo_uncertainty"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE | Need.UNCERTAINTY | Need.ON_POLICY
    spec: ClassVar[Spec] = Spec("2409.11212 eq. 12, repaired", "required", from_previous=True, reconstructed=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        doubt = 0.5 * required(batch.uncertainty).clamp(0, math.log(2)) / math.log(2)
        loss = soft_label(self.beta * difference(batch.log_ratio), 1 - doubt) + self.nll_weight * nll(batch)
        return loss, {"label_smoothing": doubt.mean().item()}, state
