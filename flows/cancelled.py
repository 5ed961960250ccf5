"""Cancel on Prefect's page stops a run that was started by hand, too: Prefect leaves that to a worker, and it has none."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from prefect import runtime
from prefect._internal import control_listener
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType

_EVERY = 10.0  # seconds between two looks: each is a request


@contextmanager
def heeding_cancel(every: float = _EVERY) -> Iterator[None]:
    """In a flow run: look whether it was cancelled, and end it as a worker would, if it has none."""
    if runtime.deployment.id:
        yield
        return
    over = threading.Event()
    threading.Thread(target=_watch, args=(str(runtime.flow_run.id), over, every), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _watch(flow_run: str, over: threading.Event, every: float) -> None:
    with get_client(sync_client=True) as client:
        while not over.wait(every):
            with suppress(Exception):  # the edge: a server that is away cancels nobody
                if client.read_flow_run(flow_run).state_type == StateType.CANCELLING and not over.is_set():
                    control_listener._set_intent("cancel")  # as a worker tells it, so that the signal is not taken for a crash
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
