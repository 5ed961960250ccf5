"""What is shown on Prefect's pages is sent beside the stages, and never stops one."""

import logging
import threading
from typing import Any

import httpx
import pytest

from flows import story


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "get_run_logger", lambda: logging.getLogger("run"))


def test_an_artifact_that_cannot_be_sent_is_said_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    made: list[str] = []

    def create(key: str) -> None:
        if key == "unreachable":
            raise httpx.ConnectError("no server there")
        made.append(key)

    for key in ("first", "unreachable", "last"):
        story._send(create, key=key)
    story.flush()
    assert made == ["first", "last"]
    assert [record.getMessage() for record in caplog.records] == ["an artifact is missing on Prefect's pages: no server there"]
    story.flush()
    assert len(caplog.records) == 1


def test_a_stage_does_not_wait_for_its_artifacts_and_the_end_of_the_run_does() -> None:
    goes, done = threading.Event(), threading.Event()

    def slow(**_: Any) -> None:
        goes.wait(10)
        done.set()

    story._send(slow, key="slow")
    assert not done.is_set()
    goes.set()
    story.flush()
    assert done.is_set()
