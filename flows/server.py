"""A Prefect server on loopback for the length of a run, where PREFECT_API_URL names none."""

import os
import subprocess
import sys
import time
from pathlib import Path

from data_contracts.errors import PlumblineError
from data_contracts.mask import mask
from flows import processes

_START_SECONDS = 180
_THEIRS_SECONDS = 15  # for a server that ought to be running
_RECORDER = "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER"
_SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # written a second's worth at once, and not one by one, a task costs the server half the processor time
    f"{_RECORDER}_BATCH_SIZE": "50",
    f"{_RECORDER}_READ_BATCH_SIZE": "50",
    f"{_RECORDER}_FLUSH_INTERVAL": "1",
}


class PrefectServer:
    """The server process, its data in `folder`. `start` returns at once, `wait` when it answers, `stop` leaves nothing behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.url = os.environ.get("PREFECT_API_URL", "")

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("PREFECT_HOME", str(self.folder))
        os.environ.setdefault("PREFECT_RESULTS_LOCAL_STORAGE_PATH", str(self.folder / "results"))
        os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
        if self.url:
            os.environ.setdefault("PREFECT_CLIENT_RETRY_EXTRA_CODES", "500")  # its answer while its database is started anew
            return
        port = processes.free_port()
        self.url = f"http://127.0.0.1:{port}/api"
        os.environ["PREFECT_API_URL"] = self.url
        environment = {**os.environ, **_SETTINGS, "PREFECT_HOME": str(self.folder)}
        environment["PREFECT_SERVER_UI_API_URL"] = self.url
        del environment["PREFECT_API_URL"]
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        self.process = processes.start_bound(command, environment, self.folder / "server.log")
        self.group = processes.identify(self.process.pid)

    def check_given(self) -> None:
        """Raises PlumblineError if PREFECT_API_URL names a server that does not answer."""
        if self.url:
            self.wait(_THEIRS_SECONDS)

    def wait(self, seconds: float = _START_SECONDS) -> None:
        """Raises PlumblineError if the server ends or does not answer in time."""
        begin = time.monotonic()
        while not processes.answers(f"{self.url}/health"):
            ended = self.process is not None and self.process.poll() is not None
            if ended or time.monotonic() - begin > seconds:
                what = "ended at once" if ended else f"does not answer after {seconds} s"
                where = f"see {self.folder / 'server.log'}" if self.process else "check PREFECT_API_URL"
                raise PlumblineError(f"the Prefect server at {mask(self.url)} {what}: {where}")
            time.sleep(0.2)

    def stop(self) -> None:
        if self.process is not None:
            processes.stop(self.group)
            self.process.wait()
