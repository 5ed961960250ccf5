"""Objectives that only imitate."""

from dataclasses import dataclass
from typing import ClassVar

from models.objectives.batch import Batch, Need, Result, State


@dataclass(frozen=True)
class Sft:
    """Supervised fine-tuning on the chosen answer: -log pi(y_w|x) / |y_w|, the mean over its tokens.

    Each answer counts the same, whatever its length (TRL pools the tokens of a batch instead, so that long ones count more).
    Use it when the chosen answers are right and the policy should simply write like them; it ignores the rejected ones, and
    usually makes those more likely as well.
    """

    name: ClassVar[str] = "sft"
    needs: ClassVar[Need] = Need(0)

    def __call__(self, batch: Batch, state: State) -> Result:
        return -batch.logp[:, 0] / batch.lengths[:, 0], {}, state
