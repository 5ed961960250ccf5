"""One run: `python -m benchmarks.overhead.run bare|plumbline PROMPTS FOLDER [KEY=VALUE…]` writes FOLDER/marks.json."""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROUNDS = 4  # as many as there are prompts for
BEGIN = time.monotonic()  # before anything slow is imported


def main(side: str, prompts: int, folder: Path, *changes: str) -> None:
    from data_contracts.load_config import load_config

    path = Path(__file__).parents[2] / "configs" / "demo.yaml"
    config = load_config(path, [f"prompts.per_round={prompts}", f"rounds={ROUNDS}", *changes])
    seconds: dict[str, list[float]] = {"report": [], "rounds": []}
    {"bare": bare, "plumbline": full}[side](config, folder / "run", seconds)
    from benchmarks.overhead.bare import decisions

    ended = {"whole": time.monotonic() - BEGIN, "decisions": decisions(folder / "run")}
    first, *further = seconds["rounds"]
    marks = ended | {"report": sum(seconds["report"]), "first": first, "round": sum(further) / len(further), "rounds": further}
    (folder / "marks.json").write_text(json.dumps(marks))


def full(config: Any, folder: Path, seconds: dict[str, list[float]]) -> None:
    """As `plumbline run` does it; the rounds and the report are timed from outside."""
    from flows import iterate

    importing = iterate.import_flow

    def import_and_time(config: Any) -> Any:
        flow = importing(config)
        from flows import rounds
        from flows.round import round_flow
        from tasks.report import write_report

        vars(rounds).update(round_flow=timed(round_flow, seconds["rounds"]), write_report=timed(write_report, seconds["report"]))
        return flow

    iterate.import_flow = import_and_time  # type: ignore[assignment]
    iterate.execute(config, folder)


def bare(config: Any, folder: Path, seconds: dict[str, list[float]]) -> None:
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
            from benchmarks.overhead.bare import step, stripped
            from flows.round import round_flow
            from tasks.evaluate import evaluate

            session.trainer.warm()
            preload()
            with stripped():
                answers = folder / "round-0" / "evaluate"
                step("start", evaluate, answers, config.evaluate, session.policy, *session.measures())
                for number in range(1, ROUNDS + 1):
                    timed(round_flow.fn, seconds["rounds"])(number)


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
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
