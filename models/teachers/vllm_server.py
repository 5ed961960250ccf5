"""A vLLM server on loopback for the length of a run: started when first asked, gone when the run is."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from data_contracts.config_teacher import VllmTeacher
from data_contracts.errors import PlumblineError
from models.parent import die_with_parent

_START_SECONDS = 900.0  # a large checkpoint on a slow disk; two minutes are usual
_STOP_SECONDS = 30.0
_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",  # the checkpoint is a folder by now
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
}
# the engine inside the run leaves these behind; another vLLM would take them for orders
_ENGINES = ("VLLM_ENABLE_V1_MULTIPROCESSING", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class VllmServer:
    """The process, its output in the file `log`. Only who knows `key`, which is made up for it, may ask it."""

    def __init__(self, model: Path, config: VllmTeacher, log: Path) -> None:
        self._model, self._config, self._log = model, config, log
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self.url, self.key = "", ""

    def ready(self) -> None:
        """Start the server unless it runs, and return when it answers. Raises PlumblineError if it ends or takes too long."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        port, self.key = _free_port(), secrets.token_hex(16)
        self.url = f"http://127.0.0.1:{port}"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        # the sockets of its processes: it leaves them behind, and otherwise in the temporary folder of everybody
        self._scratch = tempfile.TemporaryDirectory(prefix="plumbline-teacher-")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command(self._model, self._config, port),
                # the key is not on the command line, which everybody may read
                env=_environment(self._config) | {"VLLM_RPC_BASE_PATH": self._scratch.name, "VLLM_API_KEY": self.key},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # its own group, so that stopping it also stops what it started
                preexec_fn=die_with_parent,
            )
        begin = time.monotonic()
        while not _answers(self.url):
            if self._process.poll() is not None or time.monotonic() - begin > _START_SECONDS:
                ended = self._process.poll() is not None
                self.close()
                what = "ended while starting" if ended else f"does not answer after {_START_SECONDS:g} s"
                raise PlumblineError(f"the teacher's vLLM server {what}: see {self._log}")
            time.sleep(0.25)

    def close(self) -> None:
        if self._process is None:
            return
        for sign, seconds in ((signal.SIGTERM, _STOP_SECONDS), (signal.SIGKILL, None)):
            with contextlib.suppress(ProcessLookupError):  # the group may have ended by itself
                os.killpg(self._process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        self._process = None
        if self._scratch is not None:
            self._scratch.cleanup()


def command(model: Path, config: VllmTeacher, port: int) -> list[str]:
    """`vllm serve` is broken in the CPU build, whose distribution has another name; the module behind it works in all."""
    import torch

    on_gpu = torch.cuda.is_available()
    dtype = config.dtype if config.dtype != "auto" else ("bfloat16" if on_gpu else "float32")
    shards = len(config.gpus.split(",")) if config.gpus else 1
    given = {
        "--model": str(model),
        "--served-model-name": "teacher",
        "--host": "127.0.0.1",
        "--port": str(port),
        "--dtype": dtype,
        "--max-model-len": str(config.max_model_len),
        "--max-num-batched-tokens": str(max(4096, config.max_model_len)),
        "--tensor-parallel-size": str(shards),
        "--seed": "0",
    }
    switches = ["--disable-log-stats"]
    if on_gpu:
        given["--gpu-memory-utilization"] = str(config.gpu_memory if config.gpus is None else 0.9)
    else:  # see models/engine.py for chunked prefill on CPUs
        switches += ["--enforce-eager", "--no-enable-chunked-prefill"]
    flat = [part for pair in given.items() for part in pair]
    return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *flat, *switches]


def _environment(config: VllmTeacher) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in _ENGINES}
    return {**_ENVIRONMENT, **kept} | ({"CUDA_VISIBLE_DEVICES": config.gpus} if config.gpus else {})


def _answers(url: str) -> bool:
    try:
        # past any proxy: loopback is nobody else's business
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{url}/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
