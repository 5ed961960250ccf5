"""Flows in the middle of which their server goes away: `python -m tests.operate.interrupted FOLDER…`, one flow a folder.

Each says `cut` where it wants to be without its server, waits for `gone`, and works on. All but the last then say `mend` and wait
for `back`, and end only then.
"""

import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from httpx import HTTPError
from prefect import flow

from data_contracts.store import Dataset, build
from flows import book, session, story
from flows.iterate import end_telling
from flows.lock import locked
from flows.rounds import telling_failure
from flows.step import step
from models.training.progress import Progress


def stage(folder: Path, config: dict[str, str], progress: Progress) -> Dataset:
    progress(1, 2)
    made = build(folder, "prompts", config, lambda _: ([], {"kind": "of a stage"}))
    progress(2, 2)
    return made


def refused(folder: Path) -> Dataset:
    raise ValueError(f"{folder.name} cannot be made")


def say(folder: Path, word: str, until: str) -> None:
    (folder / word).touch()
    while not (folder / until).exists():
        time.sleep(0.05)


@flow(name="interrupted")
def interrupted(folder: Path, comes_back: bool) -> None:
    with telling_failure(folder):
        step("start: before", stage, folder / "before", {})
        say(folder, "cut", until="gone")
        step("round 1: during", stage, folder / "during", {"after": "before"})
        with suppress(ValueError):
            step("round 1: refused", refused, folder / "refused")
        story.markdown("round 1: decision", "It is better.")
        if comes_back:
            say(folder, "mend", until="back")


if __name__ == "__main__":
    folders = [Path(name) for name in sys.argv[1:]]
    for where in folders:
        with locked(where):
            session._current[:] = [cast(Any, SimpleNamespace(folder=where, config=SimpleNamespace(name=where.name)))]
            with suppress(HTTPError):  # what a run ends with that could not say so
                interrupted.with_options(flow_run_name=where.name)(where, where != folders[-1])
                book.sign_out(where)
    end_telling()
