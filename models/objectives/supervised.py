"""Objectives that only imitate."""

from dataclasses import dataclass
from typing import ClassVar

from models.objectives.batch import Batch, Need, Result, Spec, State
from models.objectives.pieces import nll


@dataclass(frozen=True)
class Sft:
    """Supervised fine-tuning on the chosen answers.

    -log pi(y_w|x) / |y_w|, the mean over its tokens.

    Each answer counts the same, whatever its length (TRL pools the tokens of a batch instead, so that long ones count more).
    Use it when the chosen answers are right and the policy should simply write like them. Not when the rejected ones matter: it
    ignores them, and usually makes them more likely as well.
    """

    name: ClassVar[str] = "sft"
    needs: ClassVar[Need] = Need(0)
    spec: ClassVar[Spec] = Spec("definition", normalised=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        return nll(batch), {}, state
