"""The Prefect server of a run answers while the run lasts, and is gone with it."""

import urllib.request
from pathlib import Path

import pytest

from data_contracts.errors import PlumblineError
from flows import server
from flows.server import PrefectServer


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_HOME", "PREFECT_RESULTS_LOCAL_STORAGE_PATH", "PREFECT_CLIENT_RETRY_EXTRA_CODES"):
        monkeypatch.setenv(name, "")  # so that what the server sets is taken back afterwards
        monkeypatch.delenv(name)


def test_a_server_answers_on_loopback_and_leaves_nothing(tmp_path: Path) -> None:
    running = PrefectServer(tmp_path / "prefect")
    running.start()
    running.wait()
    assert running.url.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(f"{running.url}/health") as reply:
        assert reply.status == 200
    assert running.process is not None
    running.stop()
    assert running.process.poll() is not None
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{running.url}/health", timeout=2)


def test_a_server_that_somebody_names_but_does_not_run_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setattr(server, "_THEIRS_SECONDS", 0.5)
    absent = PrefectServer(tmp_path / "prefect")
    with pytest.raises(PlumblineError, match="check PREFECT_API_URL"):
        absent.check_given()
    absent.start()
    assert absent.process is None
