"""A sweep, told to MLflow: one parent run with its tables and heat map, one child a cell."""

from pathlib import Path
from typing import Any

from data_contracts.config_sweep import Grid
from data_contracts.store import digest, open_dataset, write_text
from tasks.failure import read_failure, was_killed
from tasks.run_folder import rounds_with
from tasks.summary import read_config
from tasks.sweep import Result, cell_folder
from tasks.sweep_tables import FILES
from tasks.tracking_calls import forget_calls, log_calls
from tasks.tracking_client import at, create_run, curves, log_metrics, log_params, log_status, open_folder, server, tracking_uri
from tasks.tracking_state import known, with_others


def track_sweep(folder: Path, sweep: Grid, results: list[Result], is_over: bool) -> None:
    """Log the cells that are new or have another outcome by now, and how the sweep stands: RUNNING, KILLED with the sentence in
    its folder, or once `is_over` (its tables are written) FINISHED, FAILED where a cell is.

    Can be repeated. Raises whatever the tracking server raises.
    """
    client = open_folder(folder)
    path = folder / "tracking.json"
    state = known(client, path)
    if is_new := not state:
        parent = create_run(client, folder, sweep.name, sweep.name, None, {"plumbline.sweep": sweep.name})
        state = {"server": server(), "run_id": parent, "cells": {}}
    write_text(path, with_others(path, state))
    if is_new:
        log_params(client, state["run_id"], {axis: ", ".join(labels) for axis, labels in sweep.axes.items()})
    for cell, result in zip(sweep.cells, results, strict=True):
        outcome = digest([result.state, result.failure, result.figures])
        before = state["cells"].get(cell.label, {})
        if result.state == "waiting" or before.get("outcome") == outcome:
            continue
        if "run_id" in before:  # failed before, or cut short by an outage
            forget_calls(client, before["run_id"])
            client.delete_run(before["run_id"])
        child = create_run(
            client, folder, sweep.name, cell.label, state["run_id"], {f"axis.{k}": v for k, v in cell.point.items()}
        )
        state["cells"][cell.label] = {"run_id": child}
        write_text(path, with_others(path, state))
        _log_cell(client, child, folder, cell_folder(folder, cell), result)
        state["cells"][cell.label]["outcome"] = outcome
        write_text(path, with_others(path, state))
    failed, whole = sum(r.state == "failed" for r in results), digest(state["cells"])
    if is_over and state.get("told") != whole:
        for name in FILES:
            client.log_artifact(state["run_id"], str(folder / name))
        log_metrics(client, state["run_id"], at(0, {"cells": float(len(results)), "failed_cells": float(failed)}))
        write_text(path, with_others(path, state | {"told": whole}))
    if (sentence := read_failure(folder)) is not None:
        log_status(client, state["run_id"], "KILLED" if was_killed(folder) else "FAILED", sentence)
    else:
        log_status(client, state["run_id"], "RUNNING" if not is_over else "FAILED" if failed else "FINISHED", None)


def _log_cell(client: Any, child: str, sweep: Path, run: Path, result: Result) -> None:
    if (run / "config.yaml").exists():
        config = read_config(run)
        log_params(client, child, config)
        client.log_artifact(child, str(run / "config.yaml"))
    if result.state == "failed":
        log_status(client, child, "KILLED" if was_killed(run) else "FAILED", result.failure)
        return
    rows = [*at(0, result.figures), *(("checkpoint", score, i) for i, score in enumerate(result.checkpoints, 1))]
    trained = rounds_with(run, "align")
    aligned = run / f"round-{trained[-1]}" / "align" if trained else run / "align"
    log_metrics(client, child, [*rows, *curves(open_dataset(aligned).records())])
    client.set_tag(child, "mlflow.note.content", result.verdict)
    # in the sweep's journal; a stage that cells share is on the bill of the one that made it, and is traced there
    stages = {p.parent.relative_to(run).as_posix(): open_dataset(p.parent) for p in sorted(run.glob("round-*/*/manifest.json"))}
    log_calls(client, tracking_uri(sweep), sweep, child, stages)
    client.set_terminated(child)
