"""A firing whose deployment was deleted while it works, or while its process starts: it still has to end.

Prefect's server (3.7) answers every ending state with an error as long as the flow run holds a place that was deleted with its
deployment: the round would be shown as running, or as pending, for ever.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings


@contextmanager
def outliving_its_deployment() -> Iterator[None]:
    """In a firing: however it ends, it can tell so."""
    try:
        yield
    finally:
        context = FlowRunContext.get()
        if context and context.flow_run:
            give_back_place(context.flow_run)


def give_back_place(run: FlowRun) -> None:
    """Give back the place that `run` holds, if it is that of a deployment which is gone. A server that is away is asked no more:
    whoever tells it of the end waits for it."""
    lease = run.state and run.state.state_details.deployment_concurrency_lease_id
    if not lease or not run.deployment_id:
        return
    with suppress(Exception), temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as client:
        try:
            client.read_deployment(run.deployment_id)
        except ObjectNotFound:
            client.release_concurrency_slots_with_lease(lease)
