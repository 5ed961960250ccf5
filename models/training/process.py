"""The main process's side of training: starts the worker, hands it jobs, tells its end in one sentence. Imports no torch."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_contracts.errors import PlumblineError

# glibc gives large blocks back to the kernel at once and then takes page faults for every tensor: training is 5-10 times slower.
_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "16000000000",
    "MALLOC_TOP_PAD_": "536870912",
}
# vLLM leaves these in the environment; accelerate would take them for a distributed launch
_LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Trainer:
    """A training subprocess, kept warm between jobs; its messages and tracebacks go to the file `log`."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    def warm(self) -> None:
        """Start the worker, unless it runs, and return at once: its imports take 10-25 s, in which other things can be done."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        cores = _cores()
        command = [sys.executable, "-m", "models.training.worker", str(os.getpid()), ",".join(map(str, sorted(cores)))]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("a") as log:
            pipe = subprocess.PIPE
            # its own session: Ctrl-C is for the main process, which then ends this one
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=log, text=True, env=_environment(len(cores)), start_new_session=True
            )

    def run(self, job: dict[str, Any], progress: Callable[[int, int], None] = lambda done, total: None) -> dict[str, Any]:
        """Do one job of models.training.jobs and return its result.

        Raises PlumblineError with the worker's own sentence, or with where to look if it died.
        """
        self.warm()
        try:
            reply = self._ask(job, progress)
        except BaseException:  # Ctrl-C too: a worker in the middle of a job must not answer the next one
            self.close()
            raise
        if "error" in reply:
            raise PlumblineError(reply["error"])
        return reply["done"]

    def _ask(self, job: dict[str, Any], progress: Callable[[int, int], None]) -> dict[str, Any]:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it died while starting: told below, where its output ends
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
        for line in process.stdout:
            message: dict[str, Any] = json.loads(line)
            if "progress" not in message:
                return message
            progress(*message["progress"])
        end = _how(process.wait())
        return {"error": f"the training process {end} during {job['kind']}: its last words are in {self._log}"}

    def close(self) -> None:
        """End the worker; nothing it holds is worth waiting for."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self._process = None


def _cores() -> set[int]:
    """The cores this process may use, also when the calling thread has been pinned to one of them."""
    cores: set[int] = set()
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # a thread that has just ended
            cores |= os.sched_getaffinity(int(thread))
    return cores


def _environment(cores: int) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if k not in _LAUNCHER}
    # vLLM preloads its own allocator into every child; ours is set up below
    preloaded = [p for p in env.pop("LD_PRELOAD", "").split(":") if p and not p.startswith(sys.prefix)]
    if preloaded:
        env["LD_PRELOAD"] = ":".join(preloaded)
    root = str(Path(__file__).parents[2])
    paths = [root, *filter(None, [env.get("PYTHONPATH")])]
    # Idle threads wait a moment and then sleep. Measured on two cores: sleeping at once (OMP_WAIT_POLICY=PASSIVE) took up to 1.7
    # times as long, and waiting long (a spin count of 100,000) some 30 times, in one run, when another process wanted a core.
    env.pop("OMP_WAIT_POLICY", None)
    fixed = {"OMP_NUM_THREADS": str(cores), "GOMP_SPINCOUNT": "1000", "TOKENIZERS_PARALLELISM": "false"}
    return env | _ALLOCATOR | fixed | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def _how(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    hint = " (often: out of memory)" if -status == signal.SIGKILL else ""
    return f"was killed by {signal.Signals(-status).name}{hint}"
