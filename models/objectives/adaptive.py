"""Objectives that set a margin or a temperature for each pair from the policy itself; what they set carries no gradient."""

import math
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from models.objectives.batch import Batch, Need, Result, Spec, State
from models.objectives.pieces import difference, logistic, mean_logp, required


@dataclass(frozen=True)
class AdaDpo:
    """Adaptive preference scaling: each pair's temperature follows from its own margin.

    min over tau in [tau_min, tau_max] of -tau log s(h / tau) + (rho - log 2) tau, h = r_w - r_l; tau takes the place of 1 / beta.

    Inside the bounds the best tau is |h| / u with H(s(u)) = log 2 - rho, H the binary entropy: the paper's inner Newton steps
    come to this one division. A clear pair gets a large tau and may spread further, an ambiguous one a small tau. The loss may be
    negative, and at h = 0 tau is tau_min, the steepest, so that the first steps are large. Use it when some preferences are much
    stronger than others. Not with noisy labels: confident wrong pairs are scaled up as well.
    """

    rho: float
    tau_min: float
    tau_max: float
    name: ClassVar[str] = "ada_dpo"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2406.02764 section 3.4")

    def __call__(self, batch: Batch, state: State) -> Result:
        margin = difference(batch.log_ratio)
        tau = (margin.detach().abs() / entropy_margin(math.log(2) - self.rho)).clamp(self.tau_min, self.tau_max)
        losses = tau * logistic(margin / tau) + (self.rho - math.log(2)) * tau
        return losses, {"tau": tau.mean().item()}, state


@cache
def entropy_margin(entropy: float) -> float:
    """The u >= 0 for which s(u), taken as a coin, has this entropy in nats (0 < entropy < log 2)."""
    low, high = 0.0, 700.0
    for _ in range(100):
        u = (low + high) / 2
        p = 1 / (1 + math.exp(u))
        if p * u + math.log1p(math.exp(-u)) > entropy:  # H(s(u)) = p u + softplus(-u), p = s(-u)
            low = u
        else:
            high = u
    return (low + high) / 2


@dataclass(frozen=True)
class AlphaDpo:
    """SimPO whose margin depends on the pair: larger where the policy already prefers the chosen answer more than the reference.

    -log s(beta (m_w - m_l) - beta [gamma_beta_ratio + alpha z]), z the pair's gap (m_w - m_l) - (mref_w - mref_l) standardised,
    no gradient; m, mref mean log-probabilities a token. With alpha = 0 it is `simpo`.

    Mean and variance of the gap are exponential averages (decay 0.9) of first and second moments, weighted so that they are right
    from the first batch on; the authors start both at 0, which makes early margins ten times too large. Use it in place of simpo
    when a reference is at hand, with batches of many pairs. Not with single pairs a batch: z is then mostly noise.
    """

    beta: float
    gamma_beta_ratio: float
    alpha: float
    name: ClassVar[str] = "alpha_dpo"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE | Need.WHOLE_BATCH | Need.STATE
    spec: ClassVar[Spec] = Spec("2410.10148", "recommended", normalised=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        gain = difference(mean_logp(batch))
        gap = (gain - difference(required(batch.ref_logp)[0] / batch.lengths)).detach()
        state = _averaged(state, gap.mean().item(), gap.var(correction=0).item())
        z = (gap - state.mean) / max(math.sqrt(state.variance), 1e-4)
        margin = self.gamma_beta_ratio + self.alpha * z
        return logistic(self.beta * (gain - margin)), {"gap": state.mean, "margin": margin.mean().item()}, state


DECAY = 0.9


def _averaged(state: State, mean: float, variance: float) -> State:
    """Exponential averages over batches; the first batch's own values at first."""
    old = DECAY * (1 - DECAY**state.count) / (1 - DECAY ** (state.count + 1))
    between = old * (1 - old) * (state.mean - mean) ** 2
    return State(state.count + 1, old * state.mean + (1 - old) * mean, old * state.variance + (1 - old) * variance + between)
