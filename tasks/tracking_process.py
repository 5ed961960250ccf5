"""MLflow is told by a process of its own: importing it, making its database and drawing plots would hold up the stages.

`python -m tasks.tracking_process PARENT_PID` reads one run folder a line from stdin, as JSON, and answers each on stdout:
{"links": {title: address}} or {"error": sentence}.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from models.parent import leave_with

_NICE = 15  # the stages come first, then Prefect's server


class TrackingError(Exception):
    """MLflow could not be told; `plumbline sync` tells it later."""


class Teller:
    """The process that tells MLflow, started when there is something to tell; its messages go to the file `log`."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    def tell(self, run: Path) -> dict[str, str]:
        """Tell what the folder `run` holds and MLflow does not know yet. Where a person finds it: title and address.

        Raises TrackingError with what MLflow said.
        """
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(str(run)) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        reply: dict[str, Any] = json.loads(line) if line else {"error": f"the process that tells MLflow ended: see {self._log}"}
        if "error" in reply:
            raise TrackingError(reply["error"])
        found: dict[str, str] = reply["links"]
        return found

    def close(self) -> None:
        """End the process. What it was telling just then is told anew by the next one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _started(self) -> "subprocess.Popen[str]":
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._log.parent.mkdir(parents=True, exist_ok=True)
            root = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
            env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"} | {"PYTHONPATH": root, "MPLBACKEND": "agg"}
            command = [sys.executable, "-m", "tasks.tracking_process", str(os.getpid())]
            with self._log.open("a", encoding="utf-8") as log:
                # its own group: Ctrl-C is for the main process, which still has to tell why the run stopped
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=env, process_group=0
                )
        return self._process


def _serve() -> None:
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints goes to the log and not between the lines of JSON
    os.sched_setaffinity(0, range(os.cpu_count() or 1))  # vLLM pins the thread that starts us to one core
    os.nice(_NICE)
    import logging

    from tasks.tracking import track
    from tasks.tracking_links import links

    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    for line in sys.stdin:
        run = Path(json.loads(line))
        try:
            track(run)
            reply: dict[str, Any] = {"links": links(run)}
        except Exception as error:  # the edge: whatever a server says must not end the process that the next round needs
            logging.exception("MLflow was not told of %s", run)
            reply = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}
        print(json.dumps(reply), file=out, flush=True)


if __name__ == "__main__":
    leave_with(int(sys.argv[1]))
    _serve()
