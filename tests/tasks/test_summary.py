"""The table and the state of a run are what its folder holds, finished or not."""

import os
import shutil
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from data_contracts.errors import PlumblineError
from tasks.lineage import champions
from tasks.run_folder import rounds_with
from tasks.summary import cells, collect, header, is_finished, is_round_finished, markdown, render, render_status, status
from tests.tasks.run_folder import answers, make_human_run, make_run


def test_the_table_has_a_row_for_the_start_and_each_round(tmp_path: Path) -> None:
    rows = collect(make_run(tmp_path / "run"))
    assert [row.label for row in rows] == ["start", "round 1", "round 2"]
    assert (rows[0].win_rate, rows[0].kept, rows[0].promoted) == (None, None, None)
    assert [(row.kept, row.quarantined, row.promoted) for row in rows[1:]] == [(39, 1, True)] * 2
    first, second = (row.scores["overall"]["mean"] for row in rows[1:])
    assert rows[0].scores["overall"]["mean"] < first < second


def test_every_cell_of_the_table_is_printed(tmp_path: Path) -> None:
    rows = collect(make_run(tmp_path / "run", 1))
    console = Console(width=200, record=True)
    console.print(render(rows, "demo"))
    printed = console.export_text()
    for text in [cell for row in cells(rows) for cell in row]:
        assert text in printed
    assert "0.640" in printed and "39 / 1" in printed and "promoted" in printed


def test_markdown_is_a_table_of_equal_rows(tmp_path: Path) -> None:
    lines = markdown(collect(make_run(tmp_path / "run"))).splitlines()
    assert len(lines) == 5 and {line.count("|") for line in lines} == {9}


def test_stages_that_are_missing_are_dashes_and_the_next_one_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 2, until="pair")
    assert cells(collect(run))[2][1:7] == ["–", "–", "–", "–", "39 / 1", "–"]
    states = status(run)
    assert [state.place for state in states if state.state == "next"] == ["round-2/align"]
    assert [state.place for state in states if state.state == "waiting"] == [
        f"round-2/{s}" for s in ("evaluate", "win_rate", "promote")
    ]
    assert states[0].place == "round-0/evaluate" and (states[0].rows, states[0].state) == (100, "finished")
    console = Console(width=100, record=True)
    console.print(render_status(states))
    assert "round-2/align" in console.export_text()


def test_a_run_is_finished_when_every_stage_and_the_report_are_there(tmp_path: Path) -> None:
    done, half = make_run(tmp_path / "done"), make_run(tmp_path / "half", 1, until="pair")
    assert not is_finished(done)
    for run in (done, half):
        (run / "report.html").write_text("")
    assert is_finished(done) and not is_finished(half)


def test_a_report_from_before_the_last_round_leaves_a_run_unfinished(tmp_path: Path) -> None:
    """What a kill between a round's decision and the report leaves, where rounds were added to a finished run."""
    run = make_run(tmp_path / "run")
    report, decision = run / "report.html", run / "round-2" / "decision.json"
    report.write_text("of one round")
    os.utime(report, ns=(0, decision.stat().st_mtime_ns - 1))
    assert all(state.state == "finished" for state in status(run)) and not is_finished(run)
    os.utime(report, ns=(0, decision.stat().st_mtime_ns))
    assert is_finished(run)


def test_a_report_from_when_a_run_on_human_pairs_had_stopped_leaves_it_unfinished(tmp_path: Path) -> None:
    run = make_human_run(tmp_path / "run")
    report, last = run / "report.html", run / "rank_after" / "manifest.json"
    report.write_text("it has stopped")
    os.utime(report, ns=(0, last.stat().st_mtime_ns - 1))
    assert not is_finished(run)
    os.utime(report, ns=(0, last.stat().st_mtime_ns))
    assert is_finished(run)


def test_a_round_that_somebody_put_aside_is_no_round(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "report.html").write_text("")
    shutil.copytree(run / "round-2", run / "round-2.old")
    assert rounds_with(run, "decision.json") == [1, 2] and rounds_with(run, "align/manifest.json") == [1, 2]
    assert champions(run) == [0, 1, 2] and is_finished(run)


def test_a_run_on_human_pairs_shows_ranking_before_and_after(tmp_path: Path) -> None:
    run = make_human_run(tmp_path / "run")
    before, after = collect(run)
    assert header([before, after])[1:3] == ["ranking accuracy", "per token"]
    assert before.scores["ranking accuracy"]["mean"] < after.scores["ranking accuracy"]["mean"]
    assert (after.kept, after.quarantined) == (39, 1)
    assert all(state.state == "finished" for state in status(run))


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlumblineError, match="holds no run"):
        status(tmp_path)
    (tmp_path / "sweep.yaml").touch()
    with pytest.raises(PlumblineError, match=r"holds a sweep: name one of its runs in .*cells"):
        status(tmp_path)
    for text, said in (("flow: !!python/object/apply:os.getcwd []", "not valid YAML"), ("- flow", "must hold keys and values")):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(PlumblineError, match=said):
            status(tmp_path)


def test_a_run_goes_through_what_its_configuration_measures_besides(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 1)
    assert is_round_finished(run, 1)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["evaluate"]["harness"] = {"tasks": ["own"]}
    more = {"win_rate": {"against": ["start", {"name": "gpt4"}]}, "preference_metrics": {"held_out": 0.1}}
    (run / "config.yaml").write_text(yaml.safe_dump(config | more))
    waiting = [state.place for state in status(run) if state.state != "finished"]
    added = ("train", "held_out", "harness", "win_rate_start", "win_rate_gpt4", "preference_metrics")
    assert waiting == ["round-0/harness", *(f"round-1/{place}" for place in added)] and not is_round_finished(run, 1)


def test_the_models_of_earlier_epochs_are_stages_as_training_left_them(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 2, until="pair")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["align"] |= {"checkpoints": "epochs", "epochs": 4}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "round-1" / "align" / "epochs" / "epoch-2").mkdir(parents=True)  # of four, since it stopped early
    waiting = [state.place for state in status(run) if "epoch" in state.place]
    assert waiting == ["round-1/evaluate_epoch-2", *(f"round-2/evaluate_epoch-{epoch}" for epoch in (1, 2, 3))]
    assert not is_round_finished(run, 1)
    before = collect(run)[1].seconds
    made = answers(run / "round-1" / "evaluate_epoch-2", 1)
    assert is_round_finished(run, 1) and [s.state for s in status(run) if s.place == "round-1/evaluate_epoch-2"] == ["finished"]
    assert collect(run)[1].seconds == before + made.seconds
