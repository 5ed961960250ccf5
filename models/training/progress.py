"""How a training tells how far it is. Imports no torch."""

from typing import Protocol


class Progress(Protocol):
    """Takes the steps that are done and all there are, and the tokens a second of the last few steps where a job knows them.

    Counted are the tokens of prompts and answers, in every answer those that it shares with another too: what a trainer without
    prefix trees would have to compute, and so the number to compare.
    """

    def __call__(self, done: int, total: int, tokens_per_second: float | None = None, /) -> None: ...


def silent(done: int, total: int, tokens_per_second: float | None = None, /) -> None:
    pass
