"""A subprocess never outlives the process that started it."""

import ctypes
import os
import signal
import threading
import time


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
