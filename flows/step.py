"""One stage as one Prefect task: named, shown, timed, with its lineage, its progress and its numbers."""

import re
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.assets import Asset, AssetProperties, materialize
from prefect.cache_policies import NO_CACHE
from rich.markup import escape

from data_contracts.errors import PassingError, PlumblineError
from data_contracts.store import Dataset
from flows import outbox, story
from flows.display import console, working
from flows.session import current
from models.checkpoint import Checkpoint
from tasks.validate import set_aside


def step(label: str, stage: Callable[..., Dataset], folder: Path, *arguments: Any, retries: int = 0) -> Dataset:
    """Run `stage(folder, *arguments)` as the task `label` ("round 1: sample"), watch its progress and record what came out.

    Finished datasets are recognised by the store, not by Prefect's cache, so a resumed run shows the same tasks, done at once.
    """

    watched = "progress" in signature(stage).parameters
    made_from = list(dict.fromkeys(key for argument in arguments for key in _asset_keys(argument)))

    @materialize(
        Asset(key=f"{_root()}/{_place(folder)}", properties=AssetProperties(name=label)),
        asset_deps=made_from,
        name=label.split(": ")[-1],
        task_run_name=label,
        retries=retries,
        retry_delay_seconds=10,
        retry_condition_fn=_may_pass,
        cache_policy=NO_CACHE,
    )
    def run(*given: Any) -> Dataset:
        outbox.watch()
        with working(label) as shown:
            try:
                dataset = stage(*given, progress=story.progress(label, shown)) if watched else stage(*given)
            except PlumblineError:
                story.gate(label, folder.with_name(f"{folder.name}.failed"))
                raise
        if lost := dataset.facts.get("quarantined"):
            where, why = escape(f"{folder}/gate.json"), set_aside(dataset.folder)
            console().print(f"[yellow]![/] {label}: {lost} of {dataset.rows + lost} rows set aside ({why}), see {where}")
        for text in dataset.facts.get("warnings", []):
            console().print(f"[yellow]![/] {label}: {escape(text)}")
        get_run_logger().info("%s: %d rows in %.1f s", label, dataset.rows, dataset.seconds)
        lineage = ", ".join(key.removeprefix(f"{_root()}/") for key in made_from)
        facts = {"rows": dataset.rows, "seconds": dataset.seconds, "made from": lineage, "folder": str(dataset.folder)}
        story.table(label, dataset.facts | facts)
        story.gate(label, dataset.folder)
        return dataset

    return run(folder, *arguments)


def _may_pass(_task: Any, _run: Any, state: Any) -> bool:
    """A refused key stays refused; a server that is overloaded may answer in a while."""
    return isinstance(state.result(raise_on_failure=False), PassingError)


def _root() -> str:
    return f"plumbline://{current().config.name}"


def _place(folder: Path) -> str:
    """A folder by its path inside the run, or by its name if it lies elsewhere."""
    root = current().folder
    place = (folder.relative_to(root) if folder.is_relative_to(root) else Path(folder.name)).as_posix()
    return re.sub(r"[^\w./-]", "-", place, flags=re.ASCII)  # what a key of an asset may hold


def _asset_keys(argument: Any) -> list[str]:
    """What a stage is given, as assets: datasets, and checkpoints, which belong to the alignment that made them."""
    if isinstance(argument, Dataset):
        return [f"{_root()}/{_place(argument.folder)}"]
    if isinstance(argument, Checkpoint):
        made = argument.path.parent if argument.path.is_relative_to(current().folder) else argument.path
        return [f"{_root()}/{_place(made)}"]
    if isinstance(argument, (list, tuple, dict)):
        return [key for value in (argument.values() if isinstance(argument, dict) else argument) for key in _asset_keys(value)]
    return []
