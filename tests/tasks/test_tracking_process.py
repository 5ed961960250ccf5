"""MLflow is told by a process of its own, which neither loses a run nor outlives who started it."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tasks.tracking import is_told
from tasks.tracking_process import Teller, TrackingError
from tests.tasks.test_tracking import run as run  # a finished run's folder


@pytest.fixture
def teller(tmp_path: Path):  # type: ignore[no-untyped-def]
    found = Teller(tmp_path / "mlflow.log")
    yield found
    found.close()


def test_the_process_outlives_what_cannot_be_told_and_a_killed_one_is_started_anew(run: Path, teller: Teller) -> None:
    (broken := run.parent / "broken").mkdir()
    process = teller._started()
    for _ in range(2):
        with pytest.raises(TrackingError, match=r"config\.yaml"):
            teller.tell(broken)
    assert teller._started() is process
    assert os.getsid(process.pid) == os.getsid(0)  # else its niceness would be for nothing
    assert os.getpgid(process.pid) == process.pid  # Ctrl-C is not for it
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not is_told(run)
    assert teller.tell(run) == {}  # a file has no page
    assert is_told(run)


def test_it_ends_with_the_process_that_started_it_also_while_a_server_keeps_it_waiting(run: Path) -> None:
    code = "import sys; from pathlib import Path; from tasks.tracking_process import Teller; run = Path(sys.argv[1]); "
    code += "teller = Teller(run / 'mlflow.log'); print(teller._started().pid, flush=True); teller.tell(run)"
    with socket.create_server(("127.0.0.1", 0)) as server:  # it answers nobody
        server.settimeout(60)
        env = os.environ | {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{server.getsockname()[1]}"}
        with subprocess.Popen([sys.executable, "-c", code, str(run)], stdout=subprocess.PIPE, text=True, env=env) as parent:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            asking, _ = server.accept()
            parent.kill()
        limit = time.monotonic() + 15  # MLflow itself would wait for twice 30 seconds
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < limit
            time.sleep(0.1)
        asking.close()
