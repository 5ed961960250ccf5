"""A ragged list of ranked answers as tensors, for every objective that looks at more than a pair.

Which answers are there: all but those `Batch.mask` leaves out and those whose score is NaN. What orders them: their scores, or
without scores their position (best first). Answers with equal scores are never compared with each other, and nothing about a
left-out answer, not even a NaN, reaches a loss or a gradient.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_contracts.errors import PlumblineError
from models.objectives.batch import Batch
from models.objectives.pieces import required

if TYPE_CHECKING:
    from torch import Tensor

ABSENT = -1e30  # stands for log 0: far below any log-probability, and still finite when two of them are subtracted
LARGEST_RELEVANCE = 30.0  # 2^30 is exact in float32 and already more than any list of judged answers can mean


@dataclass(frozen=True)
class Ranking:
    level: "Tensor"  # [B, K] higher is better, 0 where absent
    here: "Tensor"  # [B, K] bool
    beats: "Tensor"  # [B, K, K] bool: i is here, j is here, and i is strictly better

    @property
    def count(self) -> "Tensor":
        """Answers that are here [B], at least 1 so that it may divide."""
        return self.here.sum(-1).clamp(min=1)

    @property
    def best(self) -> "Tensor":
        """[B, K] weights that sum to 1 over the best answer, shared where several are equally good; all 0 in an empty list."""
        top = (self.here & ~self.beats.any(-2)).to(self.level.dtype)
        return top / top.sum(-1, keepdim=True).clamp(min=1)


def ranking(batch: Batch) -> Ranking:
    level = batch.score if batch.score is not None else -batch.logp.new_ones(batch.logp.shape).cumsum(-1)
    here = ~level.isnan() if batch.mask is None else batch.mask.bool() & ~level.isnan()
    level = level.to(batch.logp.dtype).masked_fill(~here, 0.0)
    beats = here[:, :, None] & here[:, None, :] & (level[:, :, None] > level[:, None, :])
    return Ranking(level, here, beats)


def only(x: "Tensor", here: "Tensor") -> "Tensor":
    """`x` with zeros where `here` is false, whatever stood there, and no gradient from there."""
    return x.where(here, x.new_zeros(()))


def log_ratio(batch: Batch, here: "Tensor") -> "Tensor":
    """log pi - log ref of the answers that are here [B, K], 0 elsewhere."""
    return only(batch.logp, here) - only(required(batch.ref_logp)[0], here)


def per_token(x: "Tensor", batch: Batch) -> "Tensor":
    return x / batch.lengths.clamp(min=1)


def gaps(x: "Tensor") -> "Tensor":
    """x_i - x_j [B, K, K]."""
    return x[:, :, None] - x[:, None, :]


def log_sum(x: "Tensor", over: "Tensor") -> "Tensor":
    """log of the sum of exp(x) over the last axis where `over` holds; `ABSENT` or just above it where it never holds."""
    return x.masked_fill(~over, ABSENT).logsumexp(-1)


def rank_by(key: "Tensor", order: Ranking) -> "Tensor":
    """Rank 1, 2, … [B, K] of the answers that are here, the highest key first, equal keys by level, and equal levels level.

    Breaking ties by level and not by position keeps the rank independent of how a list is stored; it decides at the first step,
    where the policy is the reference and all its scores are equal.
    """
    before = (gaps(key) < 0) | ((gaps(key) == 0) & order.beats.transpose(1, 2))
    return 1 + (before & order.here[:, None, :]).sum(-1)


def relevance_gain(order: Ranking, objective: str) -> "Tensor":
    """2^level - 1, the gain of discounted cumulative gain. Raises PlumblineError where that is no sensible weight."""
    if bool((order.level < 0).any() | (order.level > LARGEST_RELEVANCE).any()):
        raise PlumblineError(
            f"objective {objective} takes scores as relevances from 0 to {LARGEST_RELEVANCE:.0f} (its weights are 2^score - 1), "
            f"and found scores from {order.level.min().item():.4g} to {order.level.max().item():.4g}: rescale them, best to 0..1"
        )
    return (2**order.level - 1) * order.here
