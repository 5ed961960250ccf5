"""One stage as one Prefect task: named, shown, timed, with its numbers as an artifact."""

from collections.abc import Callable
from inspect import signature
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from data_contracts.store import Dataset
from flows.display import working


def step(label: str, stage: Callable[..., Dataset], *arguments: Any, retries: int = 0) -> Dataset:
    """Run `stage(*arguments)` as the task `label` ("round 1: sample"), watch its progress and record what came out.

    Finished datasets are recognised by the store, not by Prefect's cache, so a resumed run shows the same tasks, done at once.
    """

    watched = "progress" in signature(stage).parameters

    @task(name=label.split(": ")[-1], task_run_name=label, retries=retries, retry_delay_seconds=10, cache_policy=NO_CACHE)
    def run(*given: Any) -> Dataset:
        with working(label) as progress:
            dataset = stage(*given, progress=progress) if watched else stage(*given)
        get_run_logger().info("%s: %d rows in %.1f s, in %s", label, dataset.rows, dataset.seconds, dataset.folder)
        table(label, dataset.facts | {"rows": dataset.rows, "seconds": dataset.seconds, "folder": str(dataset.folder)})
        return dataset

    return run(*arguments)


def table(label: str, facts: dict[str, Any]) -> None:
    """A table artifact of the plain values in `facts`."""
    rows = [{"what": k, "value": v} for k, v in _flat(facts).items()]
    create_table_artifact(key=_key(label), table=rows, description=label)


def markdown(label: str, text: str) -> None:
    """A Markdown artifact. `text` must be ours: nothing here escapes a model's words."""
    create_markdown_artifact(key=_key(label), markdown=text, description=label)


def _key(label: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in label.lower()).split())


def _flat(facts: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, float):
            flat[prefix + name] = round(value, 4)
        elif isinstance(value, (str, int, bool)):
            flat[prefix + name] = value
    return flat
