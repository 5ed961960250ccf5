"""What tracking says to MLflow again and again: runs, parameters, metrics in bulk, datasets with their lineage."""

import json
import math
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_contracts.clock import since_1970
from data_contracts.flatten import flatten
from data_contracts.json_text import is_number
from data_contracts.store import Dataset, digest
from tasks.changes import Change
from tasks.tracking_moved import artifacts, follow

BATCH = 1000  # MLflow's limit of metrics in one call
PARAMS = 100  # of parameters or tags
VALUE = 500  # of characters in a parameter or an input's tag
Points = list[tuple[str, float, int]]  # metric, value, step


def open_client(uri: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # MLflow's seven keep a run waiting for minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    from mlflow import MlflowClient

    return MlflowClient(uri)


def open_folder(run: Path) -> Any:
    """A client of the server that this folder's run or sweep is told to."""
    follow(run)
    return open_client(tracking_uri(run))


def tracking_uri(run: Path) -> str:
    """MLFLOW_TRACKING_URI, or SQLite inside the run folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.resolve() / 'mlflow.db'}"


def server() -> str:
    """Which server a run folder speaks of. A digest, since an address may hold a password; a run's own file moves with it."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    return digest(uri) if uri else "local"


def create_run(
    client: Any,
    run: Path,
    experiment: str,
    name: str,
    parent: str | None = None,
    tags: Mapping[str, str] | None = None,
    begun: int | None = None,
) -> str:
    """The id of a new run in `experiment`, which is made if it is not there; `begun` in milliseconds since 1970, or now."""
    found = client.get_experiment_by_name(experiment)
    local = not os.environ.get("MLFLOW_TRACKING_URI")
    location = artifacts(run) if local else None
    kind = {"mlflow.experimentKind": "custom_model_development"}  # else its pages would be those of a chat application
    id_ = found.experiment_id if found else client.create_experiment(experiment, artifact_location=location, tags=kind)
    given = {"mlflow.runName": name, "plumbline.folder": str(run.resolve()), **(tags or {})}
    if parent:
        given["mlflow.parentRunId"] = parent
    return str(client.create_run(id_, start_time=begun, tags=given).info.run_id)


def log_status(client: Any, run_id: str, status: str, sentence: str | None) -> None:
    """RUNNING, FINISHED, FAILED or KILLED; a run that stopped keeps the sentence that says why as a tag until it goes on."""
    known = client.get_run(run_id)
    if sentence is not None:
        client.set_tag(run_id, "plumbline.failure", sentence[:5000])
    elif "plumbline.failure" in known.data.tags:
        client.delete_tag(run_id, "plumbline.failure")
    if known.info.status != status:
        client.update_run(run_id, status) if status == "RUNNING" else client.set_terminated(run_id, status)


def log_changes(client: Any, run_id: str, changes: Iterable[Change]) -> None:
    """What is done otherwise than the configuration file says, a tag a key."""
    for change in changes:
        client.set_tag(run_id, clean(f"plumbline.changed.{change.key}"), str(change)[:VALUE])


def log_params(client: Any, run_id: str, config: Mapping[str, Any]) -> None:
    """MLflow lets no parameter change: one that was told keeps its value, whatever a run that goes on does otherwise."""
    from mlflow.entities import Param

    told = client.get_run(run_id).data.params
    given = {clean(k): str(v)[:VALUE] for k, v in flatten(config).items()}
    params = [Param(k, v) for k, v in given.items() if k not in told]
    for begin in range(0, len(params), PARAMS):
        client.log_batch(run_id, params=params[begin : begin + PARAMS])


def log_metrics(client: Any, run_id: str, points: Points, model_id: str | None = None) -> None:
    """Many metrics in few calls; those of a run that made a model are shown on the model's page too."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    entities = [Metric(clean(name), float(value), now, step, model_id=model_id) for name, value, step in points]
    for begin in range(0, len(entities), BATCH):
        client.log_batch(run_id, metrics=entities[begin : begin + BATCH])


def log_inputs(client: Any, run_id: str, stages: Mapping[str, Dataset]) -> None:
    """Datasets by the name of their stage: the digest is the dataset's key, and a tag names the parents with theirs."""
    from mlflow.entities import Dataset as Entity
    from mlflow.entities import DatasetInput, InputTag

    inputs = []
    for stage, data in stages.items():
        parents = ", ".join(f"{Path(p['folder']).name}#{p['key']}" for p in data.manifest["parents"])
        tags = {"mlflow.data.context": "evaluation" if data.kind == "answers" else "training", "plumbline.kind": data.kind}
        tags |= {"plumbline.parents": parents[:VALUE] or "none"}
        entity = Entity(
            name=stage,
            digest=data.key,
            source_type="local",
            source=json.dumps({"uri": (data.folder / "data.parquet").resolve().as_uri()}),
            schema=json.dumps({"mlflow_colspec": [{"name": name, "type": "string"} for name in data.table().schema.names]}),
            profile=json.dumps({"num_rows": data.rows}),
        )
        inputs.append(DatasetInput(entity, [InputTag(k, v) for k, v in tags.items()]))
    client.log_inputs(run_id, inputs)


def numbers(tree: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The finite numbers in nested facts, by dotted names. Truth values are no numbers."""
    flat = flatten(tree, prefix)
    return {k: float(v) for k, v in flat.items() if is_number(v) and math.isfinite(v)}


def span(stages: Iterable[Dataset]) -> tuple[int | None, int | None]:
    """When work on finished datasets began and ended, in milliseconds since 1970."""
    ends = [(since_1970(data.manifest["created"]), data.seconds) for data in stages]
    return (min(int(1000 * (end - took)) for end, took in ends), max(1000 * end for end, _ in ends)) if ends else (None, None)


def at(step: int, metrics: Mapping[str, float]) -> Points:
    return [(name, value, step) for name, value in metrics.items()]


def curves(steps: Sequence[Mapping[str, Any]]) -> Points:
    """The columns of a "steps" dataset, which has one row per optimiser step."""
    left_out = ("step", "epoch")
    return [(f"train/{k}", v, row["step"]) for row in steps for k, v in row.items() if k not in left_out and v is not None]


def clean(name: str) -> str:
    """MLflow takes letters, digits and a few signs, 250 characters at most, and no path that could be written otherwise: none of
    its parts is empty, "." or ".."."""
    parts = re.sub(r"[^\w./ -]", "_", name)[:250].split("/")
    return "/".join(part for part in parts if part not in ("", ".", "..")) or "_"
