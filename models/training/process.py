"""The main process's side of training: starts the worker, hands it jobs, tells its end in one sentence. Imports no torch."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from data_contracts.errors import PlumblineError
from models.gpus import visible
from models.training.progress import Progress, silent

# glibc gives large blocks back to the kernel at once and then takes page faults for every tensor: training is 5-10 times slower.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "16000000000",
    "MALLOC_TOP_PAD_": "536870912",
}
_LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}  # one machine: nobody else need hear
# vLLM leaves these in the environment; accelerate would take them for a distributed launch
LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

OUT_OF_MEMORY = 77  # how a team's member ends whose GPU is full
NO_MEMORY = "the GPU's memory does not suffice for training: lower align.micro_batch_tokens, or set align.gradient_checkpointing"


class Trainer:
    """A training subprocess, kept warm between jobs; its messages and tracebacks go to the file `log`.

    With `processes` it is a team of so many that train together, by default one for each of the `gpus`, which are by default all
    there are; or one. Raises PlumblineError where there are GPUs, but not so many.
    """

    def __init__(self, log: Path, processes: int | None = None, gpus: list[str] | None = None) -> None:
        self._gpus = visible() if gpus is None else gpus
        self._log, self._size = log, processes or max(1, len(self._gpus))
        if self._gpus and self._size > len(self._gpus):
            raise PlumblineError(f"align.processes is {processes}, but there are {len(self._gpus)} GPUs for it: ask for one each")
        self._process: subprocess.Popen[str] | None = None  # the team's first, which answers
        self._others: list[subprocess.Popen[str]] = []
        self._meeting: tempfile.TemporaryDirectory[str] | None = None

    def warm(self) -> None:
        """Start the worker, unless it runs, and return at once: its imports take 10-25 s, in which other things can be done."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        usable = cores()
        command = [sys.executable, "-m", "models.training.worker", str(os.getpid()), ",".join(map(str, sorted(usable)))]
        env = _environment(max(1, len(usable) // self._size))
        if self._gpus:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(self._gpus)
            if not {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"} & env.keys():  # rows vary in length, which breaks memory up
                env["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"
        if self._size > 1:
            self._meeting = tempfile.TemporaryDirectory(prefix="plumbline-team-")  # a file, and no port for others to knock on
            command.append(f"{self._meeting.name}/store")
        self._log.parent.mkdir(parents=True, exist_ok=True)
        team = []
        for rank in range(self._size):
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": self._size, "LOCAL_WORLD_SIZE": self._size}
            place_env = {k: str(v) for k, v in place.items()} | _LOOPBACK if self._size > 1 else {}
            with self._log.open("a", encoding="utf-8") as log:
                pipe = subprocess.PIPE
                # its own group: Ctrl-C is for the main process, which then ends this one
                process = subprocess.Popen(
                    command, stdin=pipe, stdout=pipe, stderr=log, text=True, env=env | place_env, process_group=0
                )
            team.append(process)
        self._process, *self._others = team
        for other in self._others:
            threading.Thread(target=_end_with, args=(other, self._process), daemon=True).start()

    def run(self, job: dict[str, Any], progress: Progress = silent) -> dict[str, Any]:
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

    def _ask(self, job: dict[str, Any], progress: Progress) -> dict[str, Any]:
        process = self._process
        assert process is not None and process.stdout is not None
        for member in (process, *self._others):
            assert member.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it died while starting: told below, where its output ends
                member.stdin.write(json.dumps(job) + "\n")
                member.stdin.flush()
        for line in process.stdout:
            message: dict[str, Any] = json.loads(line)
            if "progress" not in message:
                if message["leaves"]:  # its memory has to be free before anybody goes on, and the next job needs a new one
                    self.close()
                    self.warm()
                return message
            progress(*message["progress"])
        process.wait()
        failed = [p for p in self._others if p.poll() not in (None, 0)]  # and took the first one along
        self.close()  # who is left waits for the dead, with a GPU's memory
        if any(p.returncode == OUT_OF_MEMORY for p in failed):
            return {"error": NO_MEMORY}
        end = how((failed[0] if failed else process).returncode)
        return {"error": f"the training process {end} during {job['kind']}: see {self._log}"}

    def close(self) -> None:
        """End the worker; nothing it holds is worth waiting for."""
        team = [p for p in (self._process, *self._others) if p is not None]
        for process in team:
            process.kill()
        for process in team:
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
        self._process, self._others = None, []
        if self._meeting is not None:
            self._meeting.cleanup()
            self._meeting = None


def _end_with(other: "subprocess.Popen[str]", answering: "subprocess.Popen[str]") -> None:
    """A member that fails leaves the one that answers waiting for it, for ever on a GPU."""
    if other.wait() != 0:
        answering.kill()


def cores() -> set[int]:
    """The cores this process may use, also when the calling thread has been pinned to one of them."""
    found: set[int] = set()
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # a thread that has just ended
            found |= os.sched_getaffinity(int(thread))
    return found


def _environment(cores: int) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if k not in LAUNCHER}
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
    return env | ALLOCATOR | fixed | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def how(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    hint = " (often: out of memory)" if -status == signal.SIGKILL else ""
    return f"was killed by {signal.Signals(-status).name}{hint}"
