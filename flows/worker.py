"""What `plumbline worker` becomes, `python -m flows.worker …`: Prefect's worker, which waits for its server as long as it takes.

Prefect's own (3.7) ends after twelve requests in vain, a quarter of an hour, and sees no cancellation after three: a night
without a server would end a schedule without a word. What the requests meet is still told, in a line and not in a hundred.

Nor can it tell of a firing that its process has ended where the deployment was deleted meanwhile: see flows/undeployed.py.
"""

import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from anyio.to_thread import run_sync
from prefect._internal import observers
from prefect.cli import app
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.runner._state_proposer import StateProposer
from prefect.utilities.services import critical_service_loop
from prefect.workers import process
from prefect.workers.base import BaseWorker

from flows.undeployed import give_back_place

_MOST = 1000  # times three requests in vain: the loop multiplies an interval by two to their number, which has to stay a number


async def patient_loop(
    workload: Callable[..., Coroutine[Any, Any, Any]], interval: float, printer: Callable[..., None] = print, **options: Any
) -> None:
    """Prefect's loop around whatever it asks its server now and then, without its limit."""

    def tell(text: str = "") -> None:
        if text.startswith("Traceback"):
            printer(f"Prefect's server does not answer as it should ({text.strip().splitlines()[-1]}): it is asked until it does")
        elif text.startswith("Resetting"):
            printer("Prefect's server answers again")

    while True:
        try:
            return await critical_service_loop(workload, interval, **{**options, "backoff": _MOST, "printer": tell})
        except RuntimeError as error:
            if "exceeded error threshold" not in str(error):
                raise


def be_patient() -> None:
    for module in (process, observers):
        assert module.critical_service_loop is critical_service_loop  # else another Prefect, which needs another way
        module.critical_service_loop = patient_loop  # type: ignore[attr-defined]


def give_back_places() -> None:
    """Whatever says that a firing's process has ended: before that, the place of a deployment that is gone is given back."""

    def first(propose: Callable[..., Coroutine[Any, Any, Any]], client: Callable[[Any], PrefectClient]) -> Any:
        async def told(self: Any, flow_run: FlowRun, *given: Any, **options: Any) -> Any:
            with suppress(Exception):  # the edge: what is wrong with a server is said by who proposes
                await run_sync(give_back_place, await client(self).read_flow_run(flow_run.id))
            return await propose(self, flow_run, *given, **options)

        return told

    StateProposer.propose_crashed = first(StateProposer.propose_crashed, lambda of: of._client)  # type: ignore[method-assign]
    BaseWorker._propose_crashed_state = first(BaseWorker._propose_crashed_state, lambda of: of.client)  # type: ignore[method-assign]


if __name__ == "__main__":
    # A script's `plumbline worker &` is begun with this signal ignored, and Prefect passes a SIGTERM on to itself as this one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    be_patient()
    give_back_places()
    app()
