"""The training process: `python -m models.training.worker PARENT_PID CORE,CORE,… [STORE]`.

It imports everything heavy at once, then reads one JSON job a line from stdin and answers on stdout with lines of JSON:
{"progress": [done, total, tokens a second or null]}, then {"done": result} or {"error": sentence}, with "leaves" true where it
does no further job: on a GPU, where leaving is the only sure way to free the memory, and where a team has broken up. Several of
them are a team (RANK and WORLD_SIZE in the environment, STORE the file through which they find each other): all read the same
jobs, and the first one answers. It never outlives its parent.
"""

import json
import logging
import os
import sys
import time
from typing import Any

from models.parent import answering, leave_with


def main(parent: int, cores: set[int], store: str | None) -> None:
    os.sched_setaffinity(0, cores)  # the parent's engine may have pinned the thread that started this process
    leave_with(parent)
    say = answering()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)

    import torch

    torch.set_flush_denormal(True)  # before the first parallel region: its threads inherit the setting
    from transformers import AutoModelForCausalLM, LlamaForCausalLM  # noqa: F401 - lazy in transformers, 10 s, better now than later

    from data_contracts.errors import PlumblineError
    from models.training import team
    from models.training.jobs import JOBS, TEAMWORK
    from models.training.process import NO_MEMORY, OUT_OF_MEMORY
    from models.training.progress import silent

    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    for line in sys.stdin:
        job, reply = json.loads(line), dict[str, Any]()
        try:
            if store is not None:
                team.join(init_method=f"file://{store}", rank=rank, world_size=size)
            if rank and job["kind"] not in TEAMWORK:
                continue
            reply["done"] = JOBS[job["kind"]](job, _Progress(say) if rank == 0 else silent)
        except PlumblineError as error:
            logging.info("%s", error)
            reply["error"] = str(error)
        except torch.OutOfMemoryError:
            logging.exception("out of memory")
            if rank:  # the first may be waiting for this one, and cannot say it
                sys.exit(OUT_OF_MEMORY)
            reply["error"] = NO_MEMORY
        # after an error the others may be somewhere else: the next job needs a team that starts together
        leaves = (torch.cuda.is_available() and job["kind"] != "prove") or ("error" in reply and size > 1)
        if rank == 0:
            say(**reply, leaves=leaves)
        if leaves:
            return


class _Progress:
    """At most five lines a second."""

    def __init__(self, say: Any) -> None:
        self.say, self.last = say, 0.0

    def __call__(self, done: int, total: int, tokens_per_second: float | None = None, /) -> None:
        now = time.monotonic()
        if now - self.last > 0.2 or done == total:
            self.last = now
            self.say(progress=[done, total, tokens_per_second])


if __name__ == "__main__":
    main(int(sys.argv[1]), {int(core) for core in sys.argv[2].split(",")}, sys.argv[3] if len(sys.argv) > 3 else None)
