"""What a subprocess owes the process that started it: answers that can be read, and an end with it."""

import ctypes
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any


def answering() -> Callable[..., None]:
    """A function that sends the parent one JSON object a line, on what standard output was.

    What a library prints from here on goes to standard error, which is the log, and not between these lines.
    """
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**message: Any) -> None:
        print(json.dumps(message), file=out, flush=True)

    return say


def leave_with(parent: int) -> None:
    """Watch, in a thread, that `parent` still is this process's parent; when it is gone, end at once.

    End of file on stdin is not enough: it is not read during a job, and a forked sibling may hold the pipe open. And the kernel's
    "signal on parent death" is about the parent's *thread*, which may end while the run goes on.
    """
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def die_with_parent() -> None:
    """For a server that is not ours to watch in, as `preexec_fn` where the thread that starts it lives as long as the process:
    Linux then ends it with that thread, even where that is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
