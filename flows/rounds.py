"""Round after round, from the start's own score to the last decision."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.utilities.annotations import allow_failure
from rich.markup import escape

from flows import outbox, story
from flows.cancelled import heeding_cancel
from flows.crashed import tell_crashed
from flows.display import console, working
from flows.measures import measure_harness
from flows.round import round_flow
from flows.session import current
from flows.step import step
from flows.stopped import sentence
from flows.template import check_judges, check_template, judges_of
from tasks import summary
from tasks.changes import TITLE, read_changes
from tasks.evaluate import evaluate
from tasks.failure import clear_failure, write_failure
from tasks.report import write_report
from tasks.selection import selection_note, write_selection
from tasks.sweep import is_cell


@flow(name="rounds", flow_run_name="{name}", persist_result=False)
def rounds_flow(name: str) -> None:
    """Evaluate the start, then walk each round that is not finished; what is finished in it returns at once."""
    s = current()
    with telling_failure(s.folder):
        story.changes(TITLE, read_changes(s.folder))
        with working("engine"):
            s.engine()
        check_template(s.config, s.policy)
        check_judges(s.rounds, judges_of(s.rounds))
        step("start: evaluate", evaluate, s.folder / "round-0" / "evaluate", s.rounds.evaluate, s.policy, *s.measures())
        if s.rounds.evaluate.harness:
            measure_harness(s, s.folder / "round-0", "start", s.policy)
        tell(s.folder)
        # this flow's beat is its rounds' as well: Prefect ends each beat with a wait of up to a second
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            for number in range(1, s.rounds.rounds + 1):
                if not summary.is_round_finished(s.folder, number):
                    round_flow(number)
                    tell(s.folder)
        finish(s.folder)


@task(name="track", task_run_name="tell MLflow", retries=2, retry_delay_seconds=2, cache_policy=NO_CACHE, persist_result=False)
def track_folder(folder: str) -> dict[str, str]:
    """Tell MLflow what is finished and whether the run stopped, beside the next stages. Where it is found: title and address."""
    outbox.watch()
    return {} if is_cell(Path(folder)) else current().teller.tell(Path(folder))


def tell(folder: Path) -> None:
    """Start telling MLflow what is new, after what it is being told already."""
    current().telling = track_folder.submit(str(folder), wait_for=_before())


def _before() -> list[Any]:
    """What MLflow is being told: it is told one thing after the other, whether or not the last one reached it."""
    return [allow_failure(current().telling)] if current().telling else []


@contextmanager
def telling_failure(folder: Path) -> Iterator[None]:
    """Whatever stops a run is told in words on Prefect's page and in MLflow, and goes on its way."""
    tell_crashed(folder)
    clear_failure(folder)
    try:
        with heeding_cancel():
            yield
    except BaseException as error:  # also Ctrl-C and a cancellation
        write_failure(folder, sentence(error), killed=not isinstance(error, Exception))  # first: it asks no server
        with suppress(Exception):  # a folder that cannot be read may be what stopped it
            if any(stage.state != "finished" for stage in summary.status(folder)):
                write_report(folder)
        story.failure(error, folder)
        track_folder.submit(str(folder), wait_for=_before()).wait()
        raise
    finally:
        outbox.flush(folder)


def finish(folder: Path) -> None:
    """The report and the table. A tracking server that did not listen never costs a run: `plumbline sync` tells it later."""
    with working("report and tracking"):
        write_selection(folder)
        write_report(folder)
        tell(folder)
        told = current().telling
        assert told is not None
        told.wait()
    if told.state.is_completed():
        for title, address in told.result().items():
            story.link(title, address)
    else:
        where = escape(str(folder))
        console().print(f"[yellow]MLflow was not told everything[/] (see {where}/logs/run.log): plumbline sync {where}")
    text = summary.markdown(summary.collect(folder)) + f"\n{selection_note(folder) or ''}\n"
    story.markdown("summary", f"{text}\nReport: `{folder}/report.html`\n")
