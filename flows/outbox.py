"""What Prefect's pages are to show, sent in order from a thread of its own: no stage waits for a page, and none fails for one."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Any

log = logging.getLogger(__name__)

_PATIENCE = 30.0  # seconds for what is still on its way when a flow ends: a server that answers takes milliseconds
_sender = ThreadPoolExecutor(1, thread_name_prefix="pages")
_sent: list[Future[None]] = []


def send(create: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """Call `create` in its turn, for the flow and task that run here now. A server that refuses it is a line in the log."""
    _sent[:] = [one for one in _sent if not one.done()]
    _sent.append(_sender.submit(copy_context().run, _attempt, create, arguments, options))


def flush(seconds: float = _PATIENCE) -> None:
    """Return when everything is sent, or give up after `seconds`. To be called where the flow still runs: its client is used."""
    left = wait(_sent, seconds).not_done
    for one in left:
        one.cancel()
    _sent.clear()
    if left:
        log.warning("Prefect does not answer: %d artifacts were not sent", len(left))


def _attempt(create: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    try:
        create(*arguments, **options)
    except Exception as error:  # the edge: a page is no reason to stop a stage
        log.warning("Prefect was not shown %s: %s", options.get("key", "progress"), error)
