"""Two small rounds through the real command: every stage, real servers, real models. What became of a kill is in tests/faults."""

import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from data_contracts.store import open_dataset
from tests.end_to_end.command import left_running, plumbline
from tests.end_to_end.killed import Killed, command, unended, written

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def home(killed: Killed) -> Path:
    return killed.home


@pytest.fixture(scope="module")
def run(killed: Killed, finished: subprocess.CompletedProcess[str]) -> Path:
    log = killed.run / "logs" / "run.log"
    assert finished.returncode == 0, finished.stdout + finished.stderr + (log.read_text()[-4000:] if log.exists() else "")
    return killed.run


def test_it_prints_the_table_and_where_to_look(run: Path, finished: subprocess.CompletedProcess[str]) -> None:
    for word in ("start", "round 1", "round 2", "overall", "report.html", "mlflow server", "prefect server start"):
        assert word in finished.stdout
    assert "Traceback" not in finished.stdout + finished.stderr


def test_it_leaves_no_process_and_nothing_in_the_home(run: Path, home: Path) -> None:
    assert left_running(home) == []
    assert [p.name for p in home.iterdir() if p.name != "run" and p.name != ".cache"] == []


def test_every_dataset_names_the_parents_it_was_made_from(run: Path) -> None:
    stages = ["validate_prompts", "sample", "validate_samples", "revise", "validate_revisions", "pair", "validate_pairs", "align"]
    for number in (1, 2):
        parent = open_dataset(run / f"round-{number}" / "prompts")
        for stage in stages:
            dataset = open_dataset(run / f"round-{number}" / stage)
            assert [p["key"] for p in dataset.manifest["parents"]] == [parent.key], stage
            parent = dataset


def test_a_round_starts_from_the_latest_promoted_model(run: Path) -> None:
    first, second = open_dataset(run / "round-1" / "align"), open_dataset(run / "round-2" / "align")
    promoted = json.loads((run / "round-1" / "decision.json").read_text())["promoted"]
    expected = first.facts["model_hash"] if promoted else first.manifest["models"]["policy"]
    assert second.manifest["models"] == {"policy": expected, "reference": expected}
    assert set(open_dataset(run / "round-2" / "sample").frame()["policy"]) == {expected}


def test_training_starts_at_the_reference_and_moves_apart(run: Path) -> None:
    steps = open_dataset(run / "round-1" / "align").frame()
    assert abs(steps["margin"].iloc[0]) < 1e-3
    assert steps["margin"].iloc[-3:].mean() > 0.5


def test_the_champion_of_the_registry_is_the_last_promoted_round(run: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{run}/mlflow.db")
    experiment = client.get_experiment_by_name("demo")
    runs = client.search_runs([experiment.experiment_id])
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert (len(parents), len(children)) == (1, 3)
    decisions = [json.loads((run / f"round-{n}" / "decision.json").read_text())["promoted"] for n in (1, 2)]
    expected = max([n for n, promoted in zip((1, 2), decisions, strict=True) if promoted], default=0)
    champion = client.get_model_version_by_alias("demo", "champion")
    assert champion.tags["plumbline.round"] == str(expected)
    assert parents[0].data.tags["plumbline.changed.align.epochs"] == "4 → 2"
    one = next(r for r in children if r.data.tags["plumbline.round"] == "1")
    assert {"prompts", "sample", "revise", "validate_pairs", "evaluate"} <= {i.dataset.name for i in one.inputs.dataset_inputs}
    history = client.get_metric_history(one.info.run_id, "train/chosen_logratio")
    assert len(history) == open_dataset(run / "round-1" / "align").rows
    overall = client.get_metric_history(parents[0].info.run_id, "embedded-1.strict-1.overall")
    assert sorted(m.step for m in overall) == [0, 1, 2]


def test_prefect_shows_a_flow_a_round_and_a_task_a_stage(run: Path) -> None:
    with closing(sqlite3.connect(run / "prefect" / "prefect.db")) as database:
        flows, tasks = (
            {name for (name,) in database.execute(f"select name from {kind}_run where state_type = 'COMPLETED'")}
            for kind in ("flow", "task")
        )
        artifacts = [row[0] for row in database.execute("select distinct key from artifact").fetchall()]
    assert {"demo", "round 1", "round 2"} <= flows
    assert {"start: evaluate", "round 1: sample", "round 2: align", "round 2: win rate"} <= tasks
    assert unended(run) == {}
    assert {"demo-round-1-decision", "demo-summary", "demo-changed-on-the-command-line"} <= set(artifacts)


def test_run_again_it_repeats_nothing(run: Path, home: Path, finished: subprocess.CompletedProcess[str]) -> None:
    before = written(run)
    again = plumbline(home, "resume", str(run))
    assert again.returncode == 0, again.stderr
    assert written(run) == before
    assert again.stdout
    assert finished.stdout.endswith(again.stdout)


def test_another_configuration_is_refused_in_the_same_folder(run: Path, home: Path) -> None:
    other = plumbline(home, *command(run), "--set", "sample.temperature=0.9")
    assert other.returncode == 2
    assert "sample.temperature was 1.0, is 0.9" in other.stderr


def test_what_a_person_looks_at_is_there(run: Path) -> None:
    assert (run / "report.html").stat().st_size > 10_000 and "the command line" in (run / "report.html").read_text()
    assert list((run / "data_docs").rglob("index.html"))
