"""What the run folder holds, told to a tracking server: a parent run, a child a round. tracking*.py are the only door to MLflow.

Tracking is a projection of the folder. `track` logs what is finished there and has not been logged yet, remembers it in
`tracking.json`, and can be repeated at any time: after an outage `plumbline sync` is the same call. No stage waits for it.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_contracts.flatten import flatten
from data_contracts.made_with import together
from data_contracts.store import Dataset, digest, open_dataset, write_text
from models.checkpoint import open_checkpoint
from tasks import summary, tracking_models
from tasks.changes import overrides, read_changes, round_changes
from tasks.failure import read_failure, was_killed
from tasks.figures import scores_figure, training_figure
from tasks.lineage import champions, read_rollbacks
from tasks.promote import read_decision
from tasks.run_folder import rounds_with
from tasks.score import metric_name
from tasks.spending import own_facts, total, usage_of
from tasks.sweep import is_cell
from tasks.tracking_calls import forget_calls, log_calls, log_prompts
from tasks.tracking_client import (
    at,
    create_run,
    curves,
    log_changes,
    log_inputs,
    log_metrics,
    log_params,
    log_status,
    numbers,
    open_folder,
    server,
    span,
)
from tasks.tracking_client import tracking_uri as tracking_uri
from tasks.tracking_state import known, remembered, with_others


def track(run: Path) -> None:
    """Log everything in the run folder that is finished and not yet logged. Raises whatever the tracking server raises.

    A sweep's cell is told by its sweep (tasks.tracking_sweep), so nothing happens here.
    """
    if is_cell(run):
        return
    client = open_folder(run)
    config = summary.read_config(run)
    state = known(client, run / "tracking.json")
    if not state:
        state = {"server": server(), "run_id": create_run(client, run, config["name"], config["name"]), "done": []}
    _write_state(run, state)
    if "config" not in state["done"]:
        log_params(client, state["run_id"], config)
        client.log_artifact(state["run_id"], str(run / "config.yaml"))
        _done(run, state, "config")
    for place in _finished(run):
        if place in state["done"]:
            continue
        if "unfinished" in state:  # an outage cut this round's run short: tell it anew instead of twice
            _forget(client, state.pop("unfinished"))
        if place.startswith("round-"):
            _log_round(client, run, config, int(place.removeprefix("round-")), state)
        elif place.startswith("changes-"):
            log_changes(client, state["run_id"], read_changes(run))
        elif place.startswith("rollback-"):
            _log_rollback(client, run, config, int(place.removeprefix("rollback-")), state)
        else:
            _log_human_pairs(client, run, config, state)
        state.pop("unfinished", None)
        _done(run, state, place)
    if (run / "report.html").exists():
        client.log_artifact(state["run_id"], str(run / "report.html"))
    client.set_tag(state["run_id"], "mlflow.note.content", _description(run, config))
    _log_status(client, run, config, state)


def is_told(run: Path) -> bool:
    """Whether MLflow knows everything that is finished in the run folder; asks no server."""
    return is_cell(run) or {"config", *_finished(run)} <= set(remembered(run / "tracking.json").get("done", []))


def run_id(run: Path) -> str | None:
    """The id of the run's own MLflow run, None where the present server does not know it yet."""
    state = remembered(run / "tracking.json")
    return str(state["run_id"]) if "run_id" in state and state.get("server") == server() else None


def _forget(client: Any, run_id: str) -> None:
    """Take back a run that an outage cut short, with all that belongs to it."""
    forget_calls(client, run_id)
    tracking_models.forget(client, run_id)
    client.delete_run(run_id)


def _description(run: Path, config: Mapping[str, Any]) -> str:
    """What a person reads first on the run's page, in Markdown: no word of it is a model's or a user's."""
    table, number = summary.markdown(summary.collect(run)), champions(run)[-1]
    if config["flow"] != "rounds":
        return table
    return f"Champion: {f'round {number}' if number else 'the start'}.\n\n{table}"


def _finished(run: Path) -> list[str]:
    """What can be logged as a whole: changes, the start, each decided round, each rollback, a finished run on human pairs."""
    start = [0] if (run / "round-0" / "evaluate" / "manifest.json").exists() else []
    rollbacks = list(enumerate(read_rollbacks(run), 1))
    places = [f"changes-{digest([str(change) for change in changes])}"] if (changes := read_changes(run)) else []
    for number in (*start, *rounds_with(run, "decision.json")):
        places += [f"round-{number}", *(f"rollback-{i}" for i, rollback in rollbacks if rollback.after == number)]
    return [*places, *(["rank_after"] if (run / "rank_after" / "manifest.json").exists() else [])]


def _log_status(client: Any, run: Path, config: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """RUNNING, FINISHED, or FAILED or KILLED with its sentence and the gates that stopped it."""
    run_id, sentence = state["run_id"], read_failure(run)
    if sentence is not None:
        for gate in sorted(run.glob("**/validate_*.failed/gate.json")):
            client.log_artifact(run_id, str(gate), f"gates/{gate.parent.relative_to(run).as_posix()}")
        log_status(client, run_id, "KILLED" if was_killed(run) else "FAILED", sentence)
        return
    last = f"round-{config['rounds']}" if config["flow"] == "rounds" else "rank_after"
    log_status(client, run_id, "FINISHED" if last in state["done"] else "RUNNING", None)


def _log_round(client: Any, run: Path, config: Mapping[str, Any], number: int, state: dict[str, Any]) -> None:
    folder, parent, name = run / f"round-{number}", state["run_id"], config["name"]
    stages = {p.parent.name: open_dataset(p.parent) for p in sorted(folder.glob("*/manifest.json"))}
    begun, ended = span(stages.values())
    child = create_run(client, run, name, f"{name} round {number}", parent, {"plumbline.round": str(number)}, begun)
    state["unfinished"] = child
    _write_state(run, state)
    settings = flatten(config) | overrides(run, number)
    log_params(client, child, {key: value for key, value in settings.items() if key != "rounds"})  # of which this is one
    log_params(client, child, {"made_with": together(data.manifest for data in stages.values())})
    log_changes(client, child, round_changes(run, number))
    log_inputs(client, child, {stage: data for stage, data in stages.items() if data.kind != "steps"})
    log_prompts(client, child, stages)
    metrics = round_metrics(stages)
    decision = read_decision(folder / "decision.json")
    if decision is not None:
        metrics["promoted"] = float(decision.promoted)
        client.set_tag(child, "mlflow.note.content", decision.reason)
        client.log_artifact(child, str(folder / "decision.json"))
        for gate in sorted(folder.glob("validate_*/gate.json")):
            client.log_artifact(child, str(gate), f"gates/{gate.parent.name}")
    weights = folder / "align" / "model" if number else open_checkpoint(config["policy"]).path
    version, model = tracking_models.register(client, name, weights, child, parent, number)
    if metrics.get("promoted") == 1.0:
        tracking_models.promote(client, name, version)
    elif number == 0:
        tracking_models.start(client, name, version)
    steps = stages.get("align")
    log_metrics(client, child, [*at(number, metrics), *(curves(steps.records()) if steps else [])], model)
    _log_figures(client, run, child, parent, number, steps)
    log_calls(client, tracking_uri(run), run, child, stages)
    client.set_terminated(child, end_time=ended)
    log_metrics(client, parent, at(number, metrics))  # last: a parent's metrics cannot be taken back


def round_metrics(stages: Mapping[str, Dataset]) -> dict[str, float]:
    """Everything a round measured, under names that are the same in every round and every run.

    What stands before a slash is a section of its own on MLflow's pages, so the figures that matter most have none.
    """
    metrics: dict[str, float] = {}
    for stage, data in stages.items():
        facts = own_facts(data.manifest)
        if stage == "evaluate":
            metrics |= _scores(facts) | {"answer_tokens": facts["mean_tokens"], "stop_rate": facts["stop_rate"]}
        elif stage == "validate_pairs":
            metrics |= numbers(facts, "pairs/") | {"pairs_kept": float(data.rows)}
        elif stage.startswith("validate_"):
            metrics |= numbers(facts, f"gate/{stage.removeprefix('validate_')}.")
        elif data.kind not in ("answers", "prompts"):
            metrics |= numbers(facts, f"{stage}/")
        metrics[f"seconds/{stage}"] = data.seconds
    if used := [usage for data in stages.values() if (usage := usage_of(own_facts(data.manifest)))]:
        metrics |= numbers(total(used), "teacher/")
    if "win_rate" in stages:
        metrics["win_rate"] = stages["win_rate"].facts["win_rate"]
    return metrics


def _scores(facts: Mapping[str, Any]) -> dict[str, float]:
    """By benchmark, parser and split; the ends of the intervals and the source benchmarks in sections of their own."""
    scores: dict[str, float] = {}
    for section, metrics in (("", facts["metrics"]), ("benchmarks/", facts["benchmarks"])):
        for split, metric in metrics.items():
            name = metric_name(facts["benchmark"], facts["parser"], split)
            scores |= {f"{section}{name}": metric["mean"]}
            scores |= {f"intervals/{name}.{end}": metric[end] for end in ("low", "high")}
    return scores


def _log_figures(client: Any, run: Path, child: str, parent: str, number: int, steps: Dataset | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scores, training = Path(folder) / "scores.png", Path(folder) / "training.png"
        scores_figure(scores, "score by round", summary.collect(run))
        client.log_artifact(parent, str(scores), "plots")
        if steps:
            training_figure(training, f"round {number}: {steps.facts['objective']}", steps.records())
            client.log_artifact(child, str(training), "plots")


def _log_rollback(client: Any, run: Path, config: Mapping[str, Any], index: int, state: Mapping[str, Any]) -> None:
    rollback = read_rollbacks(run)[index - 1]
    earlier = champions(run, rollback.after + 1)
    previous = earlier[-2] if len(earlier) > 1 else None
    why = f"{rollback.when}: from round {rollback.source} to round {rollback.to}: {rollback.reason}"[:5000]
    moved = tracking_models.roll_back(client, config["name"], state["run_id"], rollback.to, previous, why)
    client.set_tag(state["run_id"], f"plumbline.rollback.{index}", why if moved else f"{why} (the alias belongs to another run)")


def _log_human_pairs(client: Any, run: Path, config: Mapping[str, Any], state: dict[str, Any]) -> None:
    run_id = state["run_id"]
    for step, name in enumerate(("rank_before", "rank_after")):
        log_metrics(client, run_id, at(step, numbers(open_dataset(run / name).facts, "ranking/")))
    steps = open_dataset(run / "align")
    log_params(client, run_id, {"made_with": together([steps.manifest])})
    log_inputs(client, run_id, {name: open_dataset(run / name) for name in ("import", "validate_pairs", "train", "held_out")})
    client.log_artifact(run_id, str(run / "validate_pairs" / "gate.json"), "gates/validate_pairs")
    _log_figures(client, run, run_id, run_id, 1, steps)
    _, model = tracking_models.register(client, config["name"], run / "align" / "model", run_id, run_id, 1)
    log_metrics(client, run_id, curves(steps.records()), model)


def _done(run: Path, state: dict[str, Any], place: str) -> None:
    state["done"].append(place)
    _write_state(run, state)


def _write_state(run: Path, state: dict[str, Any]) -> None:
    path = run / "tracking.json"
    write_text(path, with_others(path, state))
