"""One stage as one Prefect task: named, shown, timed, with its numbers as an artifact."""

from collections.abc import Callable
from inspect import signature
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from data_contracts.errors import PassingError
from data_contracts.flatten import flatten
from data_contracts.store import Dataset
from flows.display import working


def step(label: str, stage: Callable[..., Dataset], *arguments: Any, retries: int = 0) -> Dataset:
    """Run `stage(*arguments)` as the task `label` ("round 1: sample"), watch its progress and record what came out.

    Finished datasets are recognised by the store, not by Prefect's cache, so a resumed run shows the same tasks, done at once.
    """

    watched = "progress" in signature(stage).parameters

    @task(
        name=label.split(": ")[-1],
        task_run_name=label,
        retries=retries,
        retry_delay_seconds=10,
        retry_condition_fn=_may_pass,
        cache_policy=NO_CACHE,
    )
    def run(*given: Any) -> Dataset:
        with working(label) as progress:
            dataset = stage(*given, progress=progress) if watched else stage(*given)
        get_run_logger().info("%s: %d rows in %.1f s, in %s", label, dataset.rows, dataset.seconds, dataset.folder)
        table(label, dataset.facts | {"rows": dataset.rows, "seconds": dataset.seconds, "folder": str(dataset.folder)})
        return dataset

    return run(*arguments)


def _may_pass(_task: Any, _run: Any, state: Any) -> bool:
    """A refused key stays refused; a server that is overloaded may answer in a while."""
    return isinstance(state.result(raise_on_failure=False), PassingError)


def table(label: str, facts: dict[str, Any]) -> None:
    """A table artifact of the plain values in `facts`."""
    plain = {k: round(v, 4) if isinstance(v, float) else v for k, v in flatten(facts).items() if isinstance(v, (str, int, float))}
    rows = [{"what": k, "value": v} for k, v in plain.items()]
    create_table_artifact(key=_key(label), table=rows, description=label)


def markdown(label: str, text: str) -> None:
    """A Markdown artifact. `text` must be ours: nothing here escapes a model's words."""
    create_markdown_artifact(key=_key(label), markdown=text, description=label)


def _key(label: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in label.lower()).split())
