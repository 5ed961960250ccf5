"""What stopped a run, in words, and kept: also where it had not come to its flow, which tells everybody else."""

from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_contracts.errors import in_short
from tasks.failure import write_failure


def sentence(error: BaseException) -> str:
    """What stopped a run, in words."""
    if isinstance(error, KeyboardInterrupt):  # first: it may have stopped the imports below
        return "it was stopped by Ctrl-C"
    from httpx import HTTPError
    from prefect.exceptions import TerminationSignal

    if isinstance(error, TerminationSignal):
        return "it was stopped from outside (SIGTERM): cancelled, or its machine went down"
    if isinstance(error, CancelledError):  # thrown by Prefect: to work on without its deployment's place could be to work twice
        return "Prefect no longer keeps its deployment's place for it: its server was away for minutes"
    if isinstance(error, HTTPError):  # what a teacher's server does is told in sentences of its own
        return f"its Prefect server did not answer as it should ({in_short(error)})"
    return str(error) or type(error).__name__


@contextmanager
def keeping_why(folder: Path) -> Iterator[None]:
    """Whatever stops the run in `folder` is written there, and goes on its way."""
    try:
        yield
    except BaseException as error:  # also Ctrl-C and a cancellation
        write_failure(folder, sentence(error), killed=not isinstance(error, Exception))
        raise
