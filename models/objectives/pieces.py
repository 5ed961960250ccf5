"""The pieces that objectives are made of: a score for each answer, a margin between two, a link that turns it into a loss.

Scores are [B, K] in nats, margins and losses [B]. Nothing imports torch: everything is a method of the tensors that come in.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from models.objectives.batch import Batch, softplus

if TYPE_CHECKING:
    from torch import Tensor

EXPONENT = 40.0  # exp of it, squared, still fits into float32, so that a gradient's norm can be taken and clipped


def required(value: "Tensor | None") -> "Tensor":
    """A field that the objective's needs declare."""
    assert value is not None, "the objective must declare what it needs"
    return value


def there(batch: Batch) -> "Tensor":
    """[B, K] true where there is an answer."""
    return batch.logp.new_ones(batch.logp.shape).bool() if batch.mask is None else batch.mask.bool()


def difference(score: "Tensor") -> "Tensor":
    """The chosen answer's score minus the rejected one's."""
    return score[:, 0] - score[:, 1]


def mean_logp(batch: Batch) -> "Tensor":
    """Log-probability a token."""
    return batch.logp / batch.lengths


def mean_ratio(batch: Batch) -> "Tensor":
    """Log-ratio a token."""
    return batch.log_ratio / batch.lengths


def nll(batch: Batch) -> "Tensor":
    """Negative log-likelihood a token of the first answer. Of the others nothing is asked, not even that they are there."""
    return -batch.logp[:, 0] / batch.lengths[:, 0]


def logistic(margin: "Tensor") -> "Tensor":
    """-log s(margin)."""
    return softplus(-margin)


def soft_label(margin: "Tensor", p: "Tensor | float") -> "Tensor":
    """Cross entropy between a label that is right with probability `p` and s(margin)."""
    return p * softplus(-margin) + (1 - p) * softplus(margin)


def hinge(margin: "Tensor", target: float = 1.0) -> "Tensor":
    return (target - margin).clamp(min=0)


def bounded_exp(x: "Tensor") -> "Tensor":
    """exp(x), continued as a straight line above EXPONENT: finite, and still rising."""
    return x.clamp(max=EXPONENT).exp() * (1 + (x - EXPONENT).clamp(min=0))


def win_rates(batch: Batch) -> "Tensor":
    """[B, K] mean probability of each answer to beat the others."""
    wins = required(batch.win_prob)
    return (wins.sum(-1) - wins.diagonal(dim1=-2, dim2=-1)) / (wins.shape[-1] - 1)


def summed(tokens: "Tensor | None", weight: "Tensor") -> "Tensor":
    """[B, K] weighted sum over tokens [B, K, T]; where the weight is 0 the value does not matter, be it NaN."""
    return (required(tokens).masked_fill(weight == 0, 0.0) * weight).sum(-1)


def desensitised(batch: Batch, alpha: float) -> Batch:
    """The batch with every token past the shorter answer's length counted `alpha` (LD-DPO, arXiv 2409.06411).

    On policy and reference alike; LLaMA-Factory scales the policy's only, so that a model equal to its reference has a margin.
    """
    mask = required(batch.token_mask)
    position = mask.cumsum(-1)
    shared = mask.sum(-1).amin(-1)[:, None, None]
    weight = mask * (1 - (1 - alpha) * (position > shared))
    logp = summed(batch.token_logp, weight)
    ref = None if batch.ref_logp is None else summed(batch.token_ref, weight)[None]
    return replace(batch, logp=logp, ref_logp=ref)


def likeliness(batch: Batch) -> "Tensor":
    """[B, K] log of how likely the policy is to write such an answer, per token, relative to its own certainty; detached.

    mean over tokens of log p_t - log sum_v p_v^2 (WPO, arXiv 2406.11827 eq. 2).
    """
    return ((batch.logp - required(batch.self_overlap)) / batch.lengths).detach()
