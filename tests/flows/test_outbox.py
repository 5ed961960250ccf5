"""Pages are told beside the stages: in order, for the flow that runs, and never at a stage's cost."""

import logging
import threading
from contextvars import ContextVar

import httpx
import pytest

from flows import outbox


def test_what_is_sent_arrives_in_order_and_nobody_waits_for_it() -> None:
    gate, got = threading.Event(), list[int]()
    outbox.send(gate.wait, 60)
    for number in range(20):
        outbox.send(got.append, number)
    assert got == []  # the page hangs, and this goes on
    gate.set()
    outbox.flush()
    assert got == list(range(20))


def test_it_is_sent_for_the_flow_that_ran_when_it_was_said() -> None:
    running: ContextVar[str] = ContextVar("running", default="none")
    got = list[str]()
    for name in ("round 1", "round 2"):
        running.set(name)
        outbox.send(lambda: got.append(running.get()))
    running.set("none")
    outbox.flush()
    assert got == ["round 1", "round 2"]


def test_a_page_that_cannot_be_told_is_a_line_in_the_log_and_the_next_is_told(caplog: pytest.LogCaptureFixture) -> None:
    def unreachable(key: str) -> None:
        raise httpx.ConnectError("no route")

    got = list[int]()
    outbox.send(unreachable, key="demo-sample")
    outbox.send(got.append, 1)
    outbox.flush()
    assert got == [1]
    assert "demo-sample: no route" in caplog.text


def test_the_end_of_a_flow_does_not_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    gate, got = threading.Event(), list[int]()
    with caplog.at_level(logging.WARNING):
        outbox.send(gate.wait, 60)
        outbox.send(got.append, 1)
        outbox.flush(0.1)
    gate.set()
    assert "2 artifacts were not sent" in caplog.text
    outbox.flush()
    outbox.send(got.append, 2)
    outbox.flush()
    assert got == [2]  # what was given up on is not sent late, and the next flow is told again
