"""What a sweep's tables say is what its cells' folders hold."""

import csv
import json
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from data_contracts.config_sweep import Grid, Sweep, dump_sweep, load_sweep
from data_contracts.errors import PlumblineError
from models.journal import Journal, Reply, requests_of
from tasks.failure import clear_failure, write_failure
from tasks.rank import ranking_accuracy
from tasks.sweep import Result, cell_folder, collect, groups, is_cell, lines
from tasks.sweep_tables import FILES, _heat_map, markdown, render, write_tables
from tasks.tracking import is_told, track
from tasks.tracking_calls import CALLS
from tasks.tracking_client import tracking_uri
from tasks.tracking_sweep import track_sweep
from tasks.tracking_sync import catch_up
from tests.tasks.run_folder import answers, make_human_run, make_run

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """Two objectives, two seeds: three cells done, each measured after its first epoch too, and one failed."""
    path = tmp_path / "sweep.yaml"
    objectives = {name: {"align.objective": {"name": name}} for name in ("dpo", "sft")}
    keys = {"base": str(CONFIGS / "demo.yaml"), "set": {"rounds": 1}, "grid": {"objective": objectives, "seed": [0, 1]}}
    path.write_text(yaml.safe_dump({"name": "small"} | keys))
    plan = load_sweep(path)
    (tmp_path / "sweep.yaml").write_text(dump_sweep(plan))
    for cell in plan.cells[:3]:
        run = make_run(cell_folder(tmp_path, cell), 1)
        answers(run / "round-1" / "evaluate_epoch-1", 2)
        config = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump(config | {"name": cell.config.name}))
    (cell_folder(tmp_path, plan.cells[3])).mkdir()
    write_failure(cell_folder(tmp_path, plan.cells[3]), "the loss of pair <b>|x|</b> is no finite number")
    return plan


def test_maximum_mean_and_last_are_over_the_checkpoints(tmp_path: Path, sweep: Sweep) -> None:
    results = collect(tmp_path, sweep)
    assert [r.state for r in results] == ["finished"] * 3 + ["failed"]
    first, figures = results[0], results[0].figures
    assert len(first.checkpoints) == 2 and first.checkpoints[0] > first.checkpoints[1]
    assert figures["max"] == first.checkpoints[0] and figures["last"] == first.checkpoints[1]
    assert figures["mean"] == pytest.approx(sum(first.checkpoints) / 2)
    assert figures["start"] < figures["last"] and figures["low"] < figures["last"] < figures["high"]
    assert (figures["token_jaccard"], figures["clean_pairs"], figures["win_rate"]) == (0.67, 39, 0.64)


def test_a_cell_that_was_trained_on_lists_has_no_contrast(tmp_path: Path, sweep: Sweep) -> None:
    round_ = cell_folder(tmp_path, sweep.cells[0]) / "round-1"
    (round_ / "validate_pairs").rename(round_ / "validate_lists")
    manifest = round_ / "validate_lists" / "manifest.json"
    told = json.loads(manifest.read_text())
    del told["facts"]["metrics"]
    manifest.write_text(json.dumps(told))
    figures = collect(tmp_path, sweep)[0].figures
    assert figures["clean_pairs"] == 39 and "token_jaccard" not in figures


def test_a_finished_cell_on_single_answers_is_finished_though_there_was_nothing_to_rank(tmp_path: Path) -> None:
    """Cells with kto were told as not finished, after the sweep was over, and MLflow never heard of them."""
    path = tmp_path / "sweep.yaml"
    keys = {"base": str(CONFIGS / "human_pairs.yaml"), "grid": {"data": {"a": {"seed": 1}, "b": {"seed": 2}}}}
    path.write_text(yaml.safe_dump({"name": "small"} | keys))
    plan = load_sweep(path)
    for cell in plan.cells:
        make_human_run(cell_folder(tmp_path, cell))
    drawn: list[Any] = []
    for stage in ("rank_before", "rank_after"):
        manifest = cell_folder(tmp_path, plan.cells[1]) / stage / "manifest.json"
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"rows": 0, "facts": ranking_accuracy([])}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.sweep_tables.heat_maps", lambda *given: drawn.extend(given))
        results = write_tables(tmp_path, plan)
    assert drawn[-1] == "ranking accuracy"
    assert [(r.state, "last" in r.figures, r.figures["clean_pairs"]) for r in results] == [
        ("finished", True, 39),
        ("finished", False, 39),
    ]
    text = (tmp_path / "table.md").read_text()
    assert "2 of 2 cells finished" in text and "Ranking accuracies on held-out pairs" in text
    assert "| data | ranking accuracy | " in text and "| b | – | 39" in text and "0 of 1" not in text


def test_cells_that_differ_in_their_seed_are_one_row(tmp_path: Path, sweep: Sweep) -> None:
    found = groups(collect(tmp_path, sweep))
    assert [(g.point, len(g.finished), len(g.results)) for g in found] == [
        ({"objective": "dpo"}, 2, 2),
        ({"objective": "sft"}, 1, 2),
    ]


def test_the_files_hold_every_cell(tmp_path: Path, sweep: Sweep) -> None:
    results = write_tables(tmp_path, sweep)
    assert all((tmp_path / name).stat().st_size for name in FILES)
    with (tmp_path / "cells.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["cell"] for row in rows] == [c.label for c in sweep.cells]
    assert float(rows[0]["checkpoint_1"]) == results[0].checkpoints[0] and rows[3]["max"] == ""
    assert json.loads((tmp_path / "cells.json").read_text())["cells"][3]["failure"].startswith("the loss of pair")
    text = (tmp_path / "table.md").read_text()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 4 and len({line.count("|") for line in table}) == 1
    assert "3 of 4 cells finished" in text and "1 of 2" in table[3]
    assert "<b>" not in text


def test_a_sweep_is_one_run_with_a_child_a_cell_told_once(tmp_path: Path, sweep: Sweep, empty_store: Path) -> None:
    from mlflow import MlflowClient

    shutil.copy(empty_store, tmp_path / "mlflow.db")

    def told() -> dict[str, str]:
        client = MlflowClient(tracking_uri(tmp_path))
        runs = client.search_runs([client.get_experiment_by_name("small").experiment_id])
        (parent,) = (r for r in runs if "mlflow.parentRunId" not in r.data.tags)
        children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        assert len(children) == len(runs) - 1
        for child in children:
            if child.info.status == "FINISHED":
                steps = [m.step for m in client.get_metric_history(child.info.run_id, "checkpoint")]
                assert steps == [1, 2] and child.data.params["align.objective.name"]
        return {"small": parent.info.status} | {r.info.run_name: r.info.status for r in children}

    expected = {cell.label: "FINISHED" for cell in sweep.cells[:3]}
    for is_over in (False, True, True):
        track_sweep(tmp_path, sweep, write_tables(tmp_path, sweep), is_over)
        assert told() == expected | {sweep.cells[3].label: "FAILED", "small": "FAILED" if is_over else "RUNNING"}
    last = cell_folder(tmp_path, sweep.cells[3])
    shutil.rmtree(last)
    shutil.copytree(cell_folder(tmp_path, sweep.cells[0]), last)
    clear_failure(last)
    track_sweep(tmp_path, sweep, write_tables(tmp_path, sweep), True)
    assert told() == expected | {sweep.cells[3].label: "FINISHED", "small": "FINISHED"}


def test_a_cell_has_traces_of_the_calls_it_paid_for_once(tmp_path: Path, sweep: Sweep, empty_store: Path) -> None:
    from mlflow import MlflowClient

    shutil.copy(empty_store, tmp_path / "mlflow.db")
    journal, first = Journal(tmp_path / "journal.db"), cell_folder(tmp_path, sweep.cells[0])
    asked = requests_of("teacher", [[{"role": "user", "content": f"Revise {i}."}] for i in range(40)], {"temperature": 0}, 0)
    journal.store([(request, Reply("Revised.", "stop")) for request in asked])
    journal.bill([request.key for request in asked], first / "round-1" / "revise")
    journal.close()
    for _ in range(2):  # the second as `plumbline sync` does
        catch_up(tmp_path)
        client = MlflowClient(tracking_uri(tmp_path))
        experiment = client.get_experiment_by_name("small").experiment_id
        known = json.loads((tmp_path / "tracking.json").read_text())["cells"]
        traces = client.search_traces([experiment])
        told = [(t.info.trace_metadata["mlflow.sourceRun"], t.info.tags["mlflow.traceName"]) for t in traces]
        assert told == [(known[first.name]["run_id"], "round-1/revise")] * CALLS  # other cells share the stage and paid nothing
    state = json.loads((tmp_path / "tracking.json").read_text())
    del state["cells"][first.name]["outcome"]  # as an outage in the middle of the cell leaves it
    (tmp_path / "tracking.json").write_text(json.dumps(state))
    catch_up(tmp_path)
    again = json.loads((tmp_path / "tracking.json").read_text())["cells"][first.name]["run_id"]
    assert [t.info.trace_metadata["mlflow.sourceRun"] for t in client.search_traces([experiment])] == [again] * CALLS


def test_a_sweep_that_was_killed_is_put_right_by_sync(tmp_path: Path, sweep: Sweep, empty_store: Path) -> None:
    from mlflow import MlflowClient

    shutil.copy(empty_store, tmp_path / "mlflow.db")
    last, aside = cell_folder(tmp_path, sweep.cells[3]), tmp_path / "aside"
    last.rename(aside)
    track_sweep(tmp_path, sweep, collect(tmp_path, sweep), False)  # the last thing that its process did

    def status() -> dict[str, str]:
        client = MlflowClient(tracking_uri(tmp_path))
        return {
            run.info.run_name: run.info.status
            for run in client.search_runs([client.get_experiment_by_name("small").experiment_id])
        }

    assert status()["small"] == "RUNNING"
    finished = {cell.label: "FINISHED" for cell in sweep.cells[:3]}
    for _ in range(2):
        catch_up(tmp_path)
        assert status() == finished | {"small": "KILLED"}
    aside.rename(last)
    write_failure(last, "it was stopped by Ctrl-C", killed=True)
    catch_up(tmp_path)  # every cell has an outcome, and one may be tried again
    assert status() == finished | {"small": "FAILED", sweep.cells[3].label: "KILLED"}
    parent = json.loads((tmp_path / "tracking.json").read_text())["run_id"]
    catch_up(tmp_path)
    client = MlflowClient(tracking_uri(tmp_path))
    assert len(client.get_metric_history(parent, "cells")) == 1
    assert {file.path for file in client.list_artifacts(parent)} == set(FILES)
    assert "plumbline.failure" not in client.get_run(parent).data.tags
    with pytest.raises(PlumblineError, match=f"plumbline sync {tmp_path}"):
        catch_up(last)


def test_a_cell_that_did_not_begin_has_not_failed_and_one_checkpoint_needs_no_maximum(tmp_path: Path) -> None:
    grid = Grid("small", {"how": ["a", "b", "c"]}, [])
    found = [
        Result("0", {"how": "a"}, "finished", start=0.5, checkpoints=[0.7], low=0.6, high=0.8),
        Result("1", {"how": "b"}, "failed", "no <b>memory</b>"),
        Result("2", {"how": "c"}, "waiting"),
    ]
    text = markdown(grid, found)
    assert "| how | overall score | cells |" in text and "over checkpoints" not in text and "| a | 0.700 | 1 of 1 |" in text
    assert "1 of 3 cells finished. The start scores 0.500. Overall scores." in text
    console = Console(width=80, record=True, file=StringIO())
    for part in render(grid, found):
        console.print(part)
    shown = console.export_text()
    assert "failed: 1: no <b>memory</b>" in shown and "failed: 2" not in shown
    drawn: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.sweep_tables.heat_maps", lambda *given: drawn.extend(given))
        _heat_map(tmp_path / "heat.png", grid, found)
    assert drawn[5] == {"overall score": [[0.7], ["failed"], ["–"]]} and drawn[-1] == "overall score"


def test_no_figure_takes_the_place_of_an_axis() -> None:
    kept = {"start": 0.5, "checkpoints": [0.7], "low": 0.6, "high": 0.8, "pairs": 39}
    found = list(
        lines([Result("clair-x", {"pairs": "clair", "max": "x"}, "finished", **kept), Result("b", {"max": "y"}, "waiting")])
    )
    assert (found[0]["pairs"], found[0]["clean_pairs"]) == ("clair", 39)
    assert (found[0]["max (axis)"], found[0]["max"], found[1]["max (axis)"]) == ("x", 0.7, "y")


def test_a_label_adds_no_column_and_no_row_to_the_table() -> None:
    grid = Grid("small", {"how": ["a|b\n|c|", "d"]}, [])
    results = [Result(str(i), {"how": label}, "waiting") for i, label in enumerate(grid.axes["how"])]
    table = [line for line in markdown(grid, results).splitlines() if line.startswith("|")]
    assert len(table) == 4 and len({line.count("|") for line in table}) == 1


def test_a_cell_is_told_by_its_sweep_alone(tmp_path: Path, sweep: Sweep) -> None:
    run = cell_folder(tmp_path, sweep.cells[0])
    assert is_cell(run) and not is_cell(tmp_path)
    track(run)
    assert is_told(run) and not (run / "mlflow.db").exists()
