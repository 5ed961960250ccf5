"""Round after round, from the start's own score to the last decision."""

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from rich.markup import escape

from flows.display import console, working
from flows.round import round_flow
from flows.session import current
from flows.step import markdown, step
from tasks import summary
from tasks.evaluate import evaluate
from tasks.report import write_report
from tasks.tracking import track


@flow(name="rounds", flow_run_name="{name}", persist_result=False)
def rounds_flow(name: str) -> None:
    """Evaluate the start, then walk each round that is not finished; what is finished in it returns at once."""
    s = current()
    with working("engine"):
        s.engine()
    step("start: evaluate", evaluate, s.folder / "round-0" / "evaluate", s.rounds.evaluate, s.policy, *s.measures())
    told = track_folder.submit(str(s.folder))
    for number in range(1, s.rounds.rounds + 1):
        if summary.is_round_finished(s.folder, number):
            continue
        round_flow(number)
        told = track_folder.submit(str(s.folder), wait_for=[told])
    finish(s.folder, told)


@task(name="track", retries=2, retry_delay_seconds=2, cache_policy=NO_CACHE, persist_result=False)
def track_folder(folder: str) -> None:
    """Tell MLflow what is finished, beside the next stages."""
    track(Path(folder))


def finish(folder: Path, told: "PrefectFuture[None]") -> None:
    """The report and the table. A tracking server that did not listen never costs a run: `plumbline sync` tells it later."""
    with working("report and tracking"):
        write_report(folder)
        told.wait()
        told = track_folder.submit(str(folder))
        told.wait()
    if not told.state.is_completed():
        where = escape(str(folder))
        console().print(f"[yellow]MLflow was not told everything[/] (see {where}/logs/run.log): plumbline sync {where}")
    markdown("summary", summary.markdown(summary.collect(folder)))
