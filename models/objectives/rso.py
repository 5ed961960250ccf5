"""Statistical rejection sampling optimisation, arXiv 2309.06657: its two losses and its sampler."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from data_contracts.errors import PlumblineError
from models.objectives.batch import Batch, Need, Result, Spec, State
from models.objectives.pieces import difference, hinge, logistic


@dataclass(frozen=True)
class RsoHinge:
    """RSO's hinge-norm: a hinge on the log-ratio difference, for pairs from its rejection sampler.

    max(0, 1 - gamma h), h = r_w - r_l.

    Use it on pairs drawn by `rejection_sample`, which stand in for the optimal policy's own; on other pairs it is `hinge`.
    """

    gamma: float
    name: ClassVar[str] = "rso_hinge"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2309.06657", "recommended")

    def __call__(self, batch: Batch, state: State) -> Result:
        return hinge(self.gamma * difference(batch.log_ratio)), {}, state


@dataclass(frozen=True)
class RsoSigmoid:
    """RSO's sigmoid-norm: DPO's loss, for pairs from its rejection sampler.

    -log s(gamma h), h = r_w - r_l.

    Use it on pairs drawn by `rejection_sample`; on other pairs it is `dpo` with gamma for beta.
    """

    gamma: float
    name: ClassVar[str] = "rso_sigmoid"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2309.06657", "recommended")

    def __call__(self, batch: Batch, state: State) -> Result:
        return logistic(self.gamma * difference(batch.log_ratio)), {}, state


def rejection_sample(rewards: Sequence[float], keep: int, temperature: float, seed: int) -> list[int]:
    """Indices of `keep` candidates, drawn without replacement as if from the reward-tilted policy, in order of acceptance.

    Sweeps over the candidates in random order; accepts one with probability exp((reward - best remaining at the sweep's start) /
    temperature), until `keep` are accepted (RSO, appendix, algorithm 1; the paper draws 8 of 64 at 0.5). Towards temperature 0 it
    takes the best, towards infinity any.

    Raises PlumblineError for fewer candidates than `keep` (the published loop then never ends) and for rewards that are
    not finite.
    """
    if not 0 < keep <= len(rewards):
        raise PlumblineError(
            f"rejection sampling cannot keep {keep} of {len(rewards)} candidates: sample more, or keep 1 or more"
        )
    if temperature <= 0 or not all(math.isfinite(r) for r in rewards):
        raise PlumblineError("rejection sampling needs a positive temperature and a finite reward for each candidate")
    rng, left, accepted = random.Random(seed), list(range(len(rewards))), list[int]()
    while len(accepted) < keep:  # ends: each sweep accepts at least the best one left
        best = max(rewards[i] for i in left)
        rng.shuffle(left)
        taken = [i for i in left if rng.random() < math.exp((rewards[i] - best) / temperature)]
        accepted += taken
        left = [i for i in left if i not in set(taken)]
    return accepted[:keep]
