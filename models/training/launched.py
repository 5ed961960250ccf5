"""The trainer of a process that `torchrun` or `accelerate launch` has started, on one node or many: no subprocess of its own.

Process 0 makes the dataset and asks for the job; the others `serve` it until there is nothing left to do.
"""

import os
from typing import Any

from data_contracts.errors import PlumblineError
from models.training.progress import Progress, silent


def is_launched() -> bool:
    """Whether a launcher started this process. (`accelerate launch` also where it started but one of several.)"""
    return "WORLD_SIZE" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ


class Launched:
    """Takes a Trainer's place. All processes of the launch make one, at the beginning.

    Raises PlumblineError where the launcher started another number of processes than it was asked for.
    """

    def __init__(self) -> None:
        import torch

        from models.training import team

        torch.set_flush_denormal(True)
        team.join()
        self.first = team.rank() == 0

    def run(self, job: dict[str, Any], progress: Progress = silent) -> dict[str, Any]:
        from models.training import team
        from models.training.jobs import JOBS

        team.first(job)
        return JOBS[job["kind"]](job, progress)

    def serve(self) -> None:
        """Do, beside process 0, what it asks for; until `close`."""
        from models.training import team
        from models.training.jobs import JOBS

        job: dict[str, Any] | None
        while (job := team.first(None)) is not None:
            try:
                JOBS[job["kind"]](job, silent)
            except PlumblineError:  # process 0 says the same
                raise SystemExit(2) from None

    def close(self) -> None:
        from models.training import team

        team.first(None)
