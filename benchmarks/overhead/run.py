"""One process of the benchmark, which leaves FOLDER/marks.json:
`python -m benchmarks.overhead.run bare|plumbline|in_turn ROUNDS PROMPTS FOLDER [KEY=VALUE…]`."""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flows.session import Session

BEGIN = time.monotonic()  # before anything slow is imported
TOLD = os.fdopen(os.dup(1), "w", buffering=1)  # where the libraries' words are not sent into a file
_REST = 1.5  # seconds that Prefect's server is left alone before a bare round: it writes down what it was told once a second
Seconds = dict[str, list[float]]


def main(side: str, rounds: str, prompts: str, folder: Path, *changes: str) -> None:
    from data_contracts.load_config import load_config

    path = Path(__file__).parents[2] / "configs" / "demo.yaml"
    file = write_prompts(folder / "prompts.jsonl", int(rounds) * int(prompts))
    sizes = [f"rounds={rounds}", f"prompts.per_round={prompts}", f"prompts.file={file}"]
    config = load_config(path, [*sizes, *changes])
    seconds: Seconds = {"report": [], "rounds": [], "bare rounds": []}
    {"bare": bare, "plumbline": full, "in_turn": in_turn}[side](config, folder / "plumbline" / "run", seconds)
    from benchmarks.overhead.bare import decisions

    marks = seconds | {"whole": time.monotonic() - BEGIN, "decisions": decisions(folder / "plumbline" / "run")}
    (folder / "marks.json").write_text(json.dumps(marks))


def write_prompts(path: Path, count: int) -> Path:
    """So many of the embedded world's prompts; the file that comes with it holds 4,000."""
    from models.embedded.datafiles import prompt_rows
    from models.embedded.world import distinct_tasks

    global BEGIN
    before = time.monotonic()
    rows = prompt_rows(distinct_tasks("align", count, seed=22))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    BEGIN += time.monotonic() - before
    return path


def full(config: Any, folder: Path, seconds: Seconds) -> None:
    """As `plumbline run` does it; the rounds and the report are timed from outside."""
    execute(config, folder, seconds, lambda round_flow: timed(round_flow, seconds["rounds"]))


def in_turn(config: Any, folder: Path, seconds: Seconds) -> None:
    """As `full`, and after each round the same round bare, in another folder, by the same engine and trainer.

    What MLflow is told of a round is told while the next one runs, never beside a bare one. The proof that new weights are in use
    needs a forward pass of transformers, once for each weights: each of the two pays for its own.
    """

    def both(round_flow: Callable[[int], None]) -> Callable[[int], None]:
        beside: list[Session] = []

        def run(number: int) -> None:
            from flows import outbox
            from flows.session import current

            probes = current().engine().probes
            known = dict(probes)
            timed(round_flow, seconds["rounds"])(number)
            outbox.flush()
            probes.clear()
            probes.update(known)
            beside[:] = beside or [bare_session(current(), folder.parents[1] / "bare" / "run")]
            time.sleep(_REST)
            with stage_only(beside[0]):
                timed(round_flow.fn, seconds["bare rounds"])(number)  # type: ignore[attr-defined]
            pair = seconds["rounds"][-1], seconds["bare rounds"][-1]
            print(json.dumps({"round": number, "plumbline": pair[0], "bare": pair[1]}), file=TOLD)

        return run

    execute(config, folder, seconds, both)
    from benchmarks.overhead.bare import decisions

    if decisions(folder) != decisions(folder.parents[1] / "bare" / "run"):
        raise SystemExit("the rounds decided differently, so they did not do the same work")


def execute(config: Any, folder: Path, seconds: Seconds, wrapped: Callable[[Any], Callable[[int], None]]) -> None:
    from flows import iterate

    importing = iterate.import_flow

    def import_and_time(config: Any) -> Any:
        flow = importing(config)
        from flows import rounds
        from flows.round import round_flow
        from tasks.report import write_report

        vars(rounds).update(round_flow=wrapped(round_flow), write_report=timed(write_report, seconds["report"]))
        return flow

    iterate.import_flow = import_and_time  # type: ignore[assignment]
    iterate.execute(config, folder)


def bare(config: Any, folder: Path, seconds: Seconds) -> None:
    """The same stages in the same session. Prefect is imported because the wiring is Prefect's, but that time is not counted."""
    global BEGIN
    from data_contracts.load_config import dump_config
    from flows import iterate
    from flows.display import quiet_libraries
    from models.engine import preload

    os.environ.update(iterate.PRIVATE)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(config))
    with quiet_libraries(folder / "logs" / "run.log"):
        before = time.monotonic()
        importlib.import_module("prefect.flows")
        BEGIN += time.monotonic() - before
        from flows.session import open_session

        with open_session(folder, config) as session:
            from flows.round import round_flow

            session.trainer.warm()
            preload()
            with stage_only(session):
                score_the_start(session)
                for number in range(1, session.rounds.rounds + 1):
                    timed(round_flow.fn, seconds["rounds"])(number)


def bare_session(lender: "Session", folder: Path) -> "Session":
    """A session of its own folder and journal, with the engine and the trainer of `lender`; the start is scored."""
    from data_contracts.load_config import dump_config

    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(lender.config))
    session = replace(lender, folder=folder, telling=None, _teller=None, _teacher=None, _journal=None)
    with stage_only(session):
        score_the_start(session)
    return session


@contextmanager
def stage_only(session: "Session") -> "Iterator[None]":
    """Inside, flows work on `session` and run bare stages."""
    from benchmarks.overhead.bare import stripped
    from flows import session as sessions

    sessions._current.append(session)
    try:
        with stripped():
            yield
    finally:
        sessions._current.pop()


def score_the_start(session: "Session") -> None:
    from benchmarks.overhead.bare import step
    from tasks.evaluate import evaluate

    answers = session.folder / "round-0" / "evaluate"
    step("start", evaluate, answers, session.rounds.evaluate, session.policy, *session.measures())


def timed(function: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    """`function`, the time of each call added to `seconds`."""

    def run(*arguments: Any) -> Any:
        begin = time.monotonic()
        try:
            return function(*arguments)
        finally:
            seconds.append(time.monotonic() - begin)

    return run


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]), *sys.argv[5:])
