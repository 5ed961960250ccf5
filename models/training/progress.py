"""How a training tells how far it is, and whether it gets anywhere. Imports no torch."""

from collections.abc import Sequence
from typing import Protocol

STUCK = 20  # steps


class Progress(Protocol):
    """Takes the steps that are done and all there are, and the tokens a second of the last few steps where a job knows them.

    Counted are the tokens of prompts and answers, in every answer those that it shares with another too: what a trainer without
    prefix trees would have to compute, and so the number to compare.
    """

    def __call__(self, done: int, total: int, tokens_per_second: float | None = None, /) -> None: ...


def is_stuck(losses: Sequence[float]) -> bool:
    """Whether the loss has sat where it began for the last twenty steps (within 1e-4): where margins of zero leave it, at ln 2
    with dpo, at 1 with apo_zero. One that begins at 0 says nothing of that, as policy gradients' do."""
    return len(losses) >= STUCK and abs(losses[0]) > 1e-3 and all(abs(loss - losses[0]) < 1e-4 for loss in losses[-STUCK:])


def silent(done: int, total: int, tokens_per_second: float | None = None, /) -> None:
    pass
