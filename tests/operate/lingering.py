"""A flow that works on a folder, in a task of a flow within, until it is killed: `python -m tests.operate.lingering FOLDER`.

With a second argument it ends at once, and takes what is Pending now for what will never begin.
"""

import sys
import time
from datetime import timedelta
from pathlib import Path

from prefect import flow, task

from flows.cancelled import heeding_cancel
from flows.crashed import tell_crashed
from flows.lock import locked


@task(name="stage")
def stage(folder: Path) -> None:
    (folder / "working").touch()
    time.sleep(600)


@flow(name="round")
def within(folder: Path) -> None:
    stage(folder)


@flow(name="lingering")
def lingering(folder: Path, at_once: bool) -> None:
    if at_once:
        tell_crashed(folder, timedelta())
    else:
        tell_crashed(folder)
        with heeding_cancel(0.5):
            within(folder)


if __name__ == "__main__":
    where = Path(sys.argv[1])
    with locked(where):
        lingering.with_options(flow_run_name=where.name)(where, len(sys.argv) > 2)
