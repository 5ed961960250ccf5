"""How much better an answer is than the others to the same prompt: rewards [B, K] to advantages [B, K], without gradient.

Answers that are not there (`here` false) count nowhere and have the advantage 0, as has an answer without siblings.
"""

from typing import TYPE_CHECKING

from data_contracts.errors import PlumblineError
from models.objectives.lists import only

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = 1e-4  # added to the standard deviation, as in Hugging Face TRL's `grpo_trainer.py`


def centred(reward: "Tensor", here: "Tensor") -> "Tensor":
    """R - mean(R) (Dr. GRPO, arXiv 2503.20783)."""
    reward = only(reward.detach(), here)
    mean = reward.sum(-1, keepdim=True) / here.sum(-1, keepdim=True).clamp(min=1)
    return only(reward - mean, here)


def standardised(reward: "Tensor", here: "Tensor") -> "Tensor":
    """(R - mean(R)) / (std(R) + 1e-4), the unbiased standard deviation (GRPO, arXiv 2402.03300)."""
    away = centred(reward, here)
    variance = (away**2).sum(-1, keepdim=True) / (here.sum(-1, keepdim=True) - 1).clamp(min=1)
    return away / (variance.sqrt() + EPSILON)


def leave_one_out(reward: "Tensor", here: "Tensor") -> "Tensor":
    """R - mean of the other answers' R (RLOO, arXiv 2402.14740) = (R - mean(R)) n / (n - 1)."""
    count = here.sum(-1, keepdim=True)
    return centred(reward, here) * count / (count - 1).clamp(min=1)


def win_fraction(win_prob: "Tensor", here: "Tensor") -> "tuple[Tensor, Tensor]":
    """Mean probability of beating the other answers [B, K], and which answers have one: those compared with at least one other.

    The diagonal is ignored; NaN marks two answers that were never compared. Raises PlumblineError for values outside 0..1.
    """
    size = win_prob.shape[-1]
    itself = win_prob.new_ones(size, size).tril().triu().bool()
    met = here[:, :, None] & here[:, None, :] & ~win_prob.isnan() & ~itself
    wins = only(win_prob.detach(), met)
    if bool(((wins < 0) | (wins > 1)).any()):
        raise PlumblineError("win probabilities must lie in 0..1: give the judge's share of wins, not its score")
    return wins.sum(-1) / met.sum(-1).clamp(min=1), met.any(-1)
