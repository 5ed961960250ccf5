"""The only door to MLflow: what the run folder holds, told to a tracking server.

Tracking is a projection of the folder. `track` logs what is finished there and has not been logged yet, remembers it in
`tracking.json`, and can be repeated at any time: after an outage `plumbline sync` is the same call. No stage waits for it.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_contracts.flatten import flatten
from data_contracts.records import STEPS
from data_contracts.store import Dataset, digest, open_dataset
from models.checkpoint import open_checkpoint
from tasks.evaluate import metric_name
from tasks.promote import read_decision
from tasks.summary import read_config

_BATCH = 1000  # MLflow's limit of metrics in one call
_VALUE = 500  # and of characters in a parameter


def tracking_uri(run: Path) -> str:
    """MLFLOW_TRACKING_URI, or SQLite inside the run folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.resolve() / 'mlflow.db'}"


def mask(uri: str) -> str:
    """An address without the password it may hold."""
    return re.sub(r"://[^@/]*@", "://…@", uri)


def track(run: Path) -> None:
    """Log everything in the run folder that is finished and not yet logged. Raises whatever the tracking server raises."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # MLflow's seven keep a run waiting for minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri(run))
    config = read_config(run)
    state = _read_state(run)
    if state.get("server") != _server():
        state = {}  # another server: tell it everything
    if "run_id" not in state:
        state |= {"server": _server(), "run_id": _create_run(client, run, config, config["name"], None), "done": []}
        _write_state(run, state)
    if "config" not in state["done"]:
        client.log_batch(state["run_id"], params=_params(config))
        client.log_artifact(state["run_id"], str(run / "config.yaml"))
        state["done"].append("config")
        _write_state(run, state)
    for place in _finished(run):
        if place in state["done"]:
            continue
        if "unfinished" in state:  # an outage cut this round's run short: tell it anew instead of twice
            _forget(client, state.pop("unfinished"))
        if config["flow"] == "rounds":
            _log_round(client, run, config, int(place.removeprefix("round-")), state)
        else:
            _log_human_pairs(client, run, config, state)
        state.pop("unfinished", None)
        state["done"].append(place)
        _write_state(run, state)
    if (run / "report.html").exists():
        client.log_artifact(state["run_id"], str(run / "report.html"))
    if state["done"] and state["done"][-1] == _last(config):
        client.set_terminated(state["run_id"])


def is_told(run: Path) -> bool:
    """Whether MLflow knows everything that is finished in the run folder; asks no server."""
    return {"config", *_finished(run)} <= set(_read_state(run).get("done", []))


def _server() -> str:
    """Which server `tracking.json` speaks of. A digest, since an address may hold a password; a run's own file moves with it."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    return digest(uri) if uri else "local"


def _forget(client: Any, run_id: str) -> None:
    """Take back a run that an outage cut short, with the model version it may have registered."""
    for version in client.search_model_versions(f"run_id='{run_id}'"):
        client.delete_model_version(version.name, version.version)
    client.delete_run(run_id)


def _last(config: Mapping[str, Any]) -> str:
    return f"round-{config['rounds']}" if config["flow"] == "rounds" else "rank_after"


def _finished(run: Path) -> list[str]:
    """What can be logged as a whole: the start, each decided round, a finished run on human pairs."""
    rounds = sorted(run.glob("round-*/decision.json"), key=lambda p: int(p.parent.name.removeprefix("round-")))
    start = ["round-0"] if (run / "round-0" / "evaluate" / "manifest.json").exists() else []
    pairs = ["rank_after"] if (run / "rank_after" / "manifest.json").exists() else []
    return [*start, *(p.parent.name for p in rounds), *pairs]


def _log_round(client: Any, run: Path, config: Mapping[str, Any], number: int, state: dict[str, Any]) -> None:
    folder = run / f"round-{number}"
    child = _create_run(
        client, run, config, f"{config['name']} round {number}", state["run_id"], {"plumbline.round": str(number)}
    )
    state["unfinished"] = child
    _write_state(run, state)
    metrics = _scores(open_dataset(folder / "evaluate"))
    if number > 0:
        pairs, steps, wins = (open_dataset(folder / name) for name in ("validate_pairs", "align", "win_rate"))
        decision = read_decision(folder / "decision.json")
        assert decision is not None
        metrics |= {"win_rate": wins.facts["win_rate"], "pairs_kept": pairs.rows, "promoted": float(decision.promoted)}
        for prefix, place in (("sample", "sample"), ("pairs", "validate_pairs"), ("align", "align")):
            metrics |= _facts(prefix, folder / place) if (folder / place).exists() else {}  # not every method samples
        _log_steps(client, child, steps)
        client.set_tag(child, "mlflow.note.content", decision.reason)
        for data in (*(open_dataset(p) for p in [folder / "prompts"] if p.exists()), pairs):
            _log_input(client, child, data)
        client.log_artifact(child, str(folder / "decision.json"))
        for gate in sorted(folder.glob("validate_*/gate.json")):
            client.log_artifact(child, str(gate), f"gates/{gate.parent.name}")
    weights = folder / "align" / "model" if number else open_checkpoint(config["policy"]).path
    _register(client, config["name"], weights, child, number, metrics.get("promoted") == 1.0)
    for run_id in (child, state["run_id"]):
        _log_metrics(client, run_id, metrics, number)
    client.set_terminated(child)


def _log_human_pairs(client: Any, run: Path, config: Mapping[str, Any], state: dict[str, Any]) -> None:
    run_id = state["run_id"]
    for step, name in enumerate(("rank_before", "rank_after")):
        facts = flatten(open_dataset(run / name).facts, "ranking.")
        _log_metrics(client, run_id, {k: v for k, v in facts.items() if isinstance(v, (int, float))}, step)
    _log_steps(client, run_id, open_dataset(run / "align"))
    _log_input(client, run_id, open_dataset(run / "validate_pairs"))
    client.log_artifact(run_id, str(run / "validate_pairs" / "gate.json"), "gates/validate_pairs")
    _register(client, config["name"], run / "align" / "model", run_id, 1, False)


def _create_run(
    client: Any, run: Path, config: Mapping[str, Any], name: str, parent: str | None, tags: dict[str, str] | None = None
) -> str:
    found = client.get_experiment_by_name(config["name"])
    local = not os.environ.get("MLFLOW_TRACKING_URI")
    location = (run / "mlartifacts").resolve().as_uri() if local else None
    experiment = found.experiment_id if found else client.create_experiment(config["name"], artifact_location=location)
    tags = {"mlflow.runName": name, "plumbline.folder": str(run.resolve())} | (tags or {})
    if parent:
        tags["mlflow.parentRunId"] = parent
    return str(client.create_run(experiment, tags=tags).info.run_id)


def _register(client: Any, name: str, weights: Path, run_id: str, number: int, is_champion: bool) -> None:
    """The checkpoint as a version of the registered model; the alias `champion` moves only to a promoted one."""
    from mlflow.exceptions import MlflowException

    client.log_artifacts(run_id, str(weights), "model")
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(name, f"runs:/{run_id}/model", run_id, tags={"plumbline.round": str(number)}).version
    client.set_registered_model_alias(name, "candidate", version)
    first = "champion" not in client.get_registered_model(name).aliases  # on a shared server another run may hold it
    if is_champion or (number == 0 and first):
        client.set_registered_model_alias(name, "champion", version)


def _log_input(client: Any, run_id: str, data: Dataset) -> None:
    from mlflow.entities import Dataset as Entity
    from mlflow.entities import DatasetInput, InputTag

    source = json.dumps({"uri": (data.folder / "data.parquet").resolve().as_uri()})
    profile = json.dumps({"num_rows": data.rows})
    entity = Entity(name=data.kind, digest=data.key, source_type="local", source=source, profile=profile)
    client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])


def _log_steps(client: Any, run_id: str, steps: Dataset) -> None:
    names = [name for name in STEPS.names if name not in ("step", "epoch")]
    rows = [(f"train.{name}", row[name], row["step"]) for row in steps.records() for name in names if row[name] is not None]
    _log_batches(client, run_id, rows)


def _log_metrics(client: Any, run_id: str, metrics: Mapping[str, float], step: int) -> None:
    _log_batches(client, run_id, [(name, value, step) for name, value in metrics.items()])


def _log_batches(client: Any, run_id: str, rows: list[tuple[str, float, int]]) -> None:
    import time

    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    entities = [Metric(_clean(name), float(value), now, step) for name, value, step in rows]
    for begin in range(0, len(entities), _BATCH):
        client.log_batch(run_id, metrics=entities[begin : begin + _BATCH])


def _scores(answers: Dataset) -> dict[str, float]:
    facts = answers.facts
    scores: dict[str, float] = {}
    for split, metric in (facts["metrics"] | facts["benchmarks"]).items():
        name = metric_name(facts["benchmark"], facts["parser"], split)
        scores |= {name: metric["mean"], f"{name}.low": metric["low"], f"{name}.high": metric["high"]}
    return scores | {"answer_tokens": facts["mean_tokens"], "stop_rate": facts["stop_rate"]}


def _facts(prefix: str, folder: Path) -> dict[str, float]:
    facts = flatten(open_dataset(folder).facts, f"{prefix}.")
    return {k: v for k, v in facts.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


def _params(config: Mapping[str, Any]) -> list[Any]:
    from mlflow.entities import Param

    return [Param(_clean(k), str(v)[:_VALUE]) for k, v in flatten(config).items()]


def _clean(name: str) -> str:
    """MLflow takes letters, digits and a few signs, 250 characters at most."""
    return re.sub(r"[^\w./ -]", "_", name)[:250]


def _read_state(run: Path) -> dict[str, Any]:
    path = run / "tracking.json"
    state: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return state


def _write_state(run: Path, state: dict[str, Any]) -> None:
    partial = run / ".tracking.json.partial"
    partial.write_text(json.dumps(state, indent=2))
    partial.replace(run / "tracking.json")
