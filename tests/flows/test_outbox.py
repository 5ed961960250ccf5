"""Pages are told beside the stages: in order, for the flow that runs, and never at a stage's cost."""

import logging
import threading
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from prefect.artifacts import Artifact
from prefect.events.worker import EventsWorker

from flows import outbox, untold

HERE = Path("nowhere")


class Page(Artifact):
    """An artifact whose making is to call `call`."""

    call: Callable[[], Any]

    def create(self, **_: Any) -> Any:  # type: ignore[override]
        self.call()
        return SimpleNamespace(id="made")


def send(call: Callable[[], Any], key: str = "page") -> None:
    outbox.send(HERE, Page(key=key, call=call))


def test_what_is_sent_arrives_in_order_and_nobody_waits_for_it() -> None:
    gate, got = threading.Event(), list[int]()
    send(lambda: gate.wait(60))
    for number in range(20):
        send(lambda number=number: got.append(number))  # type: ignore[misc]
    assert got == []  # the page hangs, and this goes on
    gate.set()
    outbox.flush()
    assert got == list(range(20))


def test_it_is_sent_for_the_flow_that_ran_when_it_was_said() -> None:
    running: ContextVar[str] = ContextVar("running", default="none")
    got = list[str]()
    for name in ("round 1", "round 2"):
        running.set(name)
        send(lambda: got.append(running.get()))
    running.set("none")
    outbox.flush()
    assert got == ["round 1", "round 2"]


def test_a_page_that_cannot_be_told_is_a_line_in_the_log_and_the_next_is_told(caplog: pytest.LogCaptureFixture) -> None:
    def unreachable() -> None:
        raise httpx.ConnectError("no route")

    got = list[int]()
    send(unreachable, key="demo-sample")
    send(lambda: got.append(1))
    outbox.flush()
    assert got == [1]
    assert "demo-sample: no route" in caplog.text


def test_the_end_of_a_flow_does_not_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    gate, got = threading.Event(), list[int]()
    with caplog.at_level(logging.WARNING):
        send(lambda: gate.wait(60))
        send(lambda: got.append(1))
        outbox.flush(seconds=0.1)
    gate.set()
    assert "2 artifacts were not sent" in caplog.text
    outbox.flush()
    send(lambda: got.append(2))
    outbox.flush()
    assert got == [2]  # what was given up on is not sent late, and the next flow is told again


def test_where_all_is_well_nothing_is_kept_and_no_server_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what an earlier flow run had to tell another server stays."""
    monkeypatch.setattr(outbox, "get_task_and_flow_run_ids", lambda: (None, "ours"))
    monkeypatch.setattr(outbox, "get_client", lambda **_: pytest.fail("asked"))
    untold.note(tmp_path, {"flow_run": "earlier"})
    outbox.send(tmp_path, Page(key="page", call=list))
    assert [line["flow_run"] for line in untold.read(tmp_path)] == ["earlier", "ours"]
    outbox.flush(tmp_path)
    assert untold.read(tmp_path) == [{"flow_run": "earlier"}]


def test_a_line_that_a_machine_cut_short_is_no_line(tmp_path: Path) -> None:
    untold.note(tmp_path, {"flow_run": "whole"})
    with untold.path(tmp_path).open("a") as file:
        file.write('{"flow_run": "cut')
    assert untold.read(tmp_path) == [{"flow_run": "whole"}]


def test_no_process_waits_for_what_a_server_that_is_away_should_hear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect tries each event for seven seconds when a process ends."""

    def refuse(**_: Any) -> None:
        raise httpx.ConnectError("no route")

    events = cast(Any, object.__new__(EventsWorker))
    events._queue = Queue[str]()
    monkeypatch.setattr(EventsWorker, "_instances", {1: events, 2: object()})
    monkeypatch.setattr(outbox, "get_client", refuse)
    monkeypatch.setattr(outbox, "_away", [])
    events._queue.put("of a task run")
    outbox.flush(tmp_path)
    outbox.give_up()
    assert events._queue.qsize() == 1  # all is well: it is on its way
    send(refuse)
    outbox.flush(tmp_path)
    outbox.give_up()
    assert events._queue.empty()
