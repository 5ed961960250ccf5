"""Whatever stops a run is a sentence, and stands in its folder also where the run had not come to its flow."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from httpx import ConnectError
from prefect._internal.concurrency.cancellation import CancelledError
from prefect.exceptions import TerminationSignal

from data_contracts.load_config import load_config
from flows import iterate
from flows.session import Session
from flows.stopped import sentence
from tasks.failure import read_failure, was_killed
from tests.end_to_end.command import ROOT

CONFIG = load_config(ROOT / "configs" / "demo.yaml")


def test_what_stopped_a_run_is_told_as_it_is() -> None:
    assert "<img" in sentence(ValueError("row <img src=x>"))
    assert "Ctrl-C" in sentence(KeyboardInterrupt())
    assert "SIGTERM" in sentence(TerminationSignal(15))
    assert "server was away" in sentence(CancelledError())
    assert "Prefect server did not answer as it should (no route)" in sentence(ConnectError("no route"))


@pytest.mark.parametrize(
    ("error", "said", "killed"),
    [(TerminationSignal(signal.SIGTERM), "from outside", True), (ValueError("no such GPU"), "no such GPU", False)],
)
def test_what_stops_a_run_before_its_flow_is_kept(
    error: BaseException, said: str, killed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled while its engine starts, a firing was told as one that ended without a word."""

    class Stopped:
        def start(self) -> None:
            raise error

    session = Session(tmp_path, CONFIG, trainer=None, policy=None)  # type: ignore[arg-type]
    with pytest.raises(type(error)):
        iterate.start(Stopped(), session)  # type: ignore[arg-type]
    assert said in str(read_failure(tmp_path))
    assert was_killed(tmp_path) is killed


def test_ctrl_c_is_told_without_importing_what_it_may_have_stopped() -> None:
    script = "import sys; from flows.stopped import sentence; print(sentence(KeyboardInterrupt()), 'prefect' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert told.stdout.split()[-1] == "False" and "Ctrl-C" in told.stdout, told.stderr
