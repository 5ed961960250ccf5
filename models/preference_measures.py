"""What an objective on log-ratios can do with its reference, and whether its implicit rewards are probabilities."""

from collections.abc import Sequence
from math import log
from typing import Any

import numpy as np

_SATURATED = log(99)  # a logistic loss's gradient has fallen under 1 % there
# The margin beta h, with h the chosen answer's log-ratio minus the rejected one's, beyond which an objective no longer pushes.
# beta is `gamma` to rso and `tau` to IPO. APO-zero pushes either answer until it has saturated by itself.
FLIP_MARGIN = {
    **dict.fromkeys(("dpo", "rso_sigmoid", "minor_dpo", "apo_down"), _SATURATED),
    **dict.fromkeys(("apo_zero", "apo_auto"), 2 * _SATURATED),
    **dict.fromkeys(("hinge", "rso_hinge"), 1.0),
    "ipo_sum": 0.5,
}


def reach(
    objective: str,
    beta: float | None,
    behind: Sequence[float],
    judged: Sequence[float] = (),
    win_probabilities: Sequence[float] = (),
) -> dict[str, Any]:
    """{"reach": …}, or nothing for an objective that has no such bound (not in `FLIP_MARGIN`).

    `behind` [n] are the reference's log p(chosen) - log p(rejected), in nats; `judged` [m] those of pairs whose chosen answer
    wins with `win_probabilities` [m]. A pair is ranked rightly as soon as beta h > -beta behind (arXiv 2405.19534, theorem 4.1,
    where c = -behind); an objective that stops pushing at beta h = `flip_margin` cannot flip it if -behind > flip_margin / beta.

    - `cannot_flip`: the share of such pairs;
    - `idealized_accuracy`: the ranking accuracy of DPO's own optimum, h = logit(p) / beta (section 3.2), over the judged pairs;
      a pair with p = 1 counts as right, a tie as wrong.
    """
    if objective not in FLIP_MARGIN or beta is None or not len(behind):
        return {}
    margin = FLIP_MARGIN[objective]
    found = {"beta": beta, "flip_margin": margin, "cannot_flip": float((-np.asarray(behind) > margin / beta).mean())}
    if len(judged):
        p = np.asarray(win_probabilities, dtype=np.float64)
        with np.errstate(divide="ignore"):
            logits = np.log(p) - np.log1p(-p)
        found["idealized_accuracy"] = float((np.asarray(judged) + logits / beta > 0).mean())
    return {"reach": found}


def calibration(rewards: Sequence[float], win_probabilities: Sequence[float], bins: int = 10) -> dict[str, Any]:
    """Whether sigmoid(reward margin) is the probability that the chosen answer wins, as the judge says it.

    `error`: the expected calibration error over equal bins of [0.5, 1] (Guo et al. 2017, equation 3), every pair turned so that
    the model favours its first answer; `brier`: the mean squared difference; `predicted`, `judged`: their means after turning.
    """
    q = 1 / (1 + np.exp(-np.clip(np.asarray(rewards, dtype=np.float64), -500, 500)))
    p = np.asarray(win_probabilities, dtype=np.float64)
    turned = q < 0.5
    q, p = np.where(turned, 1 - q, q), np.where(turned, 1 - p, p)
    index = np.minimum(((q - 0.5) * 2 * bins).astype(int), bins - 1)
    gaps = np.abs(np.bincount(index, weights=q - p, minlength=bins))
    brier = float(((q - p) ** 2).mean())
    return {"error": float(gaps.sum() / len(q)), "brier": brier, "predicted": float(q.mean()), "judged": float(p.mean())}
