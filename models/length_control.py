"""A win rate as it would be if both answers were equally long: AlpacaEval 2's regression (arXiv 2404.04475, section 3)."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.statistics import standard_error

_Z = 1.959964


@dataclass(frozen=True)
class LengthControlled:
    """`rate` with its 95 % interval and standard error, as shares; `length_effect` is the tanh term's coefficient, in logits."""

    rate: float
    low: float
    high: float
    standard_error: float
    length_effect: float


def length_controlled(
    points: npt.ArrayLike, length_differences: npt.ArrayLike, clusters: Sequence[str], difficulty: npt.ArrayLike | None = None
) -> LengthControlled:
    """From `points` [n] (1 a win, 0.5 a tie, or the judge's probability) and new minus old lengths [n], in characters.

    logit P(new wins) = theta + phi tanh(length difference / its standard deviation) + psi difficulty is fitted by statsmodels'
    binomial GLM, and the rate is the mean of its predictions with the length term at 0. `difficulty` [n] is known before the
    comparison, such as the old model's score; it is centred, and left out where it does not vary or is None.

    As in AlpacaEval 2: the formula, the tanh, the standardisation by the sample's deviation, probabilities as labels, the rate.
    Not as there: its instruction difficulties were fitted jointly on its leaderboard's models and exist for its 805 questions
    only; its L1 penalty found by cross-validation and its two "gamed" baselines are replaced by one pseudo-observation of one
    half for each coefficient (the log-F(1, 1) prior of Greenland and Mansournia 2015), which keeps separable data finite; and
    it gives no standard error, which here is the delta method's on a covariance clustered by distinct question, with the
    predictions' own spread between questions of unequal difficulty, since other questions would be as hard by chance.
    """
    from statsmodels.genmod.families import Binomial
    from statsmodels.genmod.generalized_linear_model import GLM
    from statsmodels.tools.sm_exceptions import PerfectSeparationWarning

    wins, lengths = np.asarray(points, dtype=np.float64), np.asarray(length_differences, dtype=np.float64)
    columns = [np.ones_like(wins)]
    has_length = len(wins) > 1 and lengths.std() > 0
    if has_length:
        columns.append(np.tanh(lengths / lengths.std(ddof=1)))
    if difficulty is not None and (known := np.asarray(difficulty, dtype=np.float64)).std() > 0:
        columns.append(known - known.mean())
    design = np.stack(columns, axis=1)
    terms = design.shape[1]
    _, groups = np.unique(np.asarray(clusters), return_inverse=True)
    pseudo = groups.max() + 1 + np.arange(terms)  # each a cluster of its own
    labels, features = np.concatenate([wins, np.full(terms, 0.5)]), np.concatenate([design, np.eye(terms)])
    clustered = {"groups": np.concatenate([groups, pseudo])}
    with warnings.catch_warnings():  # the pseudo-observations identify what perfect predictions alone would not
        warnings.simplefilter("ignore", PerfectSeparationWarning)
        fit = GLM(labels, features, family=Binomial()).fit(cov_type="cluster", cov_kwds=clustered)
    at_equal_length = design.copy()
    if has_length:
        at_equal_length[:, 1] = 0.0
    predicted = fit.predict(at_equal_length)
    gradient = (predicted * (1 - predicted)) @ at_equal_length / len(wins)
    drawn: float = standard_error(predicted, clusters) if np.ptp(predicted) else 0.0
    error = float(np.sqrt(gradient @ fit.cov_params() @ gradient + drawn**2))
    rate = float(predicted.mean())
    effect = float(fit.params[1]) if has_length else 0.0
    return LengthControlled(rate, max(0.0, rate - _Z * error), min(1.0, rate + _Z * error), error, effect)
