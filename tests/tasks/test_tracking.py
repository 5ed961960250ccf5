"""MLflow is told what the run folder holds, once, whatever happened to the server in between."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from data_contracts.made_with import made_with
from tasks.failure import SILENT, clear_failure, read_failure, write_failure
from tasks.lineage import roll_back
from tasks.tracking import is_told, run_id, track, tracking_uri
from tasks.tracking_client import create_run, log_metrics, log_params
from tasks.tracking_sync import catch_up
from tests.tasks.run_folder import make_run


def trackable(folder: Path) -> Path:
    """What `track` also reads of a real run: weights to register, and a parameter longer than MLflow takes."""
    weights = [folder.parent / "student", *(p.parent / "model" for p in folder.glob("round-*/align/manifest.json"))]
    for path in weights:
        path.mkdir(exist_ok=True)
        (path / "config.json").write_text("{}")
        (path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")  # no tensors
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["policy"], config["note"] = str(weights[0]), "x" * 3000
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture
def run(tmp_path: Path, empty_store: Path) -> Path:
    folder = trackable(make_run(tmp_path / "run"))
    shutil.copy(empty_store, folder / "mlflow.db")
    return folder


def told(run: Path) -> dict[str, int]:
    """How often each thing is known to the server."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri(run))
    experiment = client.get_experiment_by_name("demo")
    runs = client.search_runs([experiment.experiment_id])
    parent = next(r for r in runs if "mlflow.parentRunId" not in r.data.tags)
    return {
        "runs": len(runs),
        "overall": len(client.get_metric_history(parent.info.run_id, "embedded-1.strict-1.overall")),
        "versions": len(client.search_model_versions("name='demo'")),
        "models": len(client.search_logged_models([experiment.experiment_id])),
        "champion": alias(run, "champion"),
    }


def alias(run: Path, name: str) -> int:
    """The round whose model has the alias."""
    from mlflow import MlflowClient

    return int(MlflowClient(tracking_uri(run)).get_model_version_by_alias("demo", name).tags["plumbline.round"])


def parent(run: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri(run)).get_run(json.loads((run / "tracking.json").read_text())["run_id"])


def test_told_twice_it_is_known_once(run: Path) -> None:
    promoted = [json.loads((run / f"round-{k}" / "decision.json").read_text())["promoted"] for k in (1, 2)]
    expected = {"runs": 4, "overall": 3, "versions": 3, "models": 3, "champion": 2 if promoted[1] else 1}
    for _ in range(2):
        track(run)
        assert told(run) == expected
    description = parent(run).data.tags["mlflow.note.content"]
    assert "Champion: round" in description and "| round 2 |" in description


def test_after_an_outage_only_what_was_missed_is_told(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tasks.tracking as tracking

    real = tracking.log_calls

    def broken(*given: Any) -> None:  # late: by then the round's run, its model and its alias are there
        if "round 2" in given[0].get_run(given[3]).data.tags["mlflow.runName"]:
            raise ConnectionError("the server is gone")
        real(*given)

    monkeypatch.setattr(tracking, "log_calls", broken)
    with pytest.raises(ConnectionError):
        track(run)
    assert json.loads((run / "tracking.json").read_text())["done"] == ["config", "round-0", "round-1"]
    assert not is_told(run)
    monkeypatch.setattr(tracking, "log_calls", real)
    track(run)
    assert told(run) == {"runs": 4, "overall": 3, "versions": 3, "models": 3, "champion": 2}
    assert alias(run, "previous") == 1
    assert is_told(run)


def test_a_server_under_another_address_or_used_again_later_is_told_nothing_twice(
    run: Path, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where a bare SQLite server keeps its artifacts
    shutil.copy(empty_store, tmp_path / "shared.db")
    (last := run / "round-2" / "decision.json").rename(run / "aside")
    for address in (f"{tmp_path}/shared.db", f"{tmp_path}/../{tmp_path.name}/shared.db", None, f"{tmp_path}/shared.db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{address}" if address else "")
        track(run)
        assert told(run) == {"runs": 3, "overall": 2, "versions": 2, "models": 2, "champion": 1}
        assert run_id(run) == parent(run).info.run_id
    (run / "aside").rename(last)
    for address in ("", f"sqlite:///{tmp_path}/shared.db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        track(run)
        assert told(run) == {"runs": 4, "overall": 3, "versions": 3, "models": 3, "champion": 2}


def test_a_server_whose_data_was_deleted_is_told_anew(run: Path, empty_store: Path) -> None:
    (run / "round-2" / "decision.json").unlink()
    for _ in range(2):
        shutil.copy(empty_store, run / "mlflow.db")
        track(run)
        assert told(run) == {"runs": 3, "overall": 2, "versions": 2, "models": 2, "champion": 1}


def test_what_a_run_kept_with_itself_moves_with_it(run: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient
    from mlflow.tracking._tracking_service import utils

    (run / "round-2" / "decision.json").rename(run / "aside")
    track(run)
    utils._artifact_repos_cache.clear()  # as in another process, since nobody moves a folder under one that works
    moved = run.rename(tmp_path / "moved")
    (moved / "aside").rename(moved / "round-2" / "decision.json")
    track(moved)
    assert not run.exists()
    client = MlflowClient(tracking_uri(moved))
    experiment = client.get_experiment_by_name("demo").experiment_id
    rounds = [found for found in client.search_runs([experiment]) if found.data.tags.get("plumbline.round", "0") != "0"]
    assert len(rounds) == 2
    for found in rounds:
        assert [file.path for file in client.list_artifacts(found.info.run_id, "plots")] == ["plots/training.png"]
    for version in client.search_model_versions("name='demo'"):
        assert (Path(version.source.removeprefix("file://")) / "MLmodel").is_file() and str(moved) in version.source


def test_the_default_is_sqlite_inside_the_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking_uri(run) == f"sqlite:///{run}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert tracking_uri(run) == "http://127.0.0.1:1"


def test_the_champion_moves_only_to_a_promoted_round(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decision = run / "round-2" / "decision.json"
    decision.write_text(json.dumps(json.loads(decision.read_text()) | {"promoted": False}))
    monkeypatch.chdir(tmp_path)  # where a bare SQLite server keeps its artifacts
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/shared.db")
    track(run)
    assert told(run)["champion"] == 1
    track(trackable(make_run(tmp_path / "second", 1, until="pair")))  # another run of that name, and only its start is there
    assert told(run)["champion"] == 1


def test_datasets_are_known_with_digest_source_and_parents(run: Path) -> None:
    from mlflow import MlflowClient

    track(run)
    client = MlflowClient(tracking_uri(run))
    experiment = client.get_experiment_by_name("demo").experiment_id
    (child,) = client.search_runs([experiment], "tags.`plumbline.round` = '1'")
    inputs = {i.dataset.name: (i.dataset, {t.key: t.value for t in i.tags}) for i in child.inputs.dataset_inputs}
    assert {"prompts", "sample", "validate_samples", "revise", "pair", "validate_pairs", "evaluate"} <= inputs.keys()
    dataset, tags = inputs["validate_pairs"]
    manifest = json.loads((run / "round-1" / "validate_pairs" / "manifest.json").read_text())
    assert dataset.digest == manifest["key"]
    assert Path(json.loads(dataset.source)["uri"].removeprefix("file://")) == run / "round-1" / "validate_pairs" / "data.parquet"
    assert tags["plumbline.parents"] == f"pair#{inputs['pair'][0].digest}"
    artifacts = {f.path for folder in ("plots", "gates/validate_pairs") for f in client.list_artifacts(child.info.run_id, folder)}
    assert artifacts == {"plots/training.png", "gates/validate_pairs/gate.json"}


def test_a_round_has_the_same_metric_names_in_parent_and_child(run: Path) -> None:
    from mlflow import MlflowClient

    track(run)
    client = MlflowClient(tracking_uri(run))
    experiment = client.get_experiment_by_name("demo").experiment_id
    names = {}
    for number in (1, 2):
        (child,) = client.search_runs([experiment], f"tags.`plumbline.round` = '{number}'")
        names[number] = {name for name in child.data.metrics if not name.startswith("train/")}
        assert {m.step for name in names[number] for m in client.get_metric_history(child.info.run_id, name)} == {number}
    assert names[1] == names[2]
    assert {"teacher/cost", "revise/teacher.cost", "revise/teacher.input_tokens"} <= names[1]
    assert names[1] <= parent(run).data.metrics.keys()


def test_a_run_that_stopped_is_not_running_for_ever(run: Path) -> None:
    (run / "round-2" / "decision.json").rename(run / "kept.json")
    track(run)
    assert parent(run).info.status == "RUNNING"
    write_failure(run, "the contract enough_rows is broken")
    track(run)
    track(run)
    assert (parent(run).info.status, parent(run).data.tags["plumbline.failure"]) == (
        "FAILED",
        "the contract enough_rows is broken",
    )
    clear_failure(run)
    track(run)
    assert parent(run).info.status == "RUNNING"
    (run / "kept.json").rename(run / "round-2" / "decision.json")
    track(run)
    assert parent(run).info.status == "FINISHED"
    assert "plumbline.failure" not in parent(run).data.tags


def test_a_rollback_moves_the_alias_back_and_says_why(run: Path) -> None:
    track(run)
    assert (alias(run, "champion"), alias(run, "previous"), alias(run, "candidate")) == (2, 1, 2)
    roll_back(run, None, "it forgot how to count")
    assert not is_told(run)
    track(run)
    track(run)
    assert (alias(run, "champion"), alias(run, "previous"), alias(run, "candidate")) == (1, 0, 2)
    assert "it forgot how to count" in parent(run).data.tags["plumbline.rollback.1"]
    roll_back(run, 0, "so did this one")
    track(run)
    assert alias(run, "champion") == 0
    from mlflow import MlflowClient

    assert "previous" not in MlflowClient(tracking_uri(run)).get_registered_model("demo").aliases


def test_a_run_does_not_move_the_alias_of_another_run(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{run}/mlflow.db")
    track(run)
    other = trackable(make_run(tmp_path / "second"))
    track(other)
    roll_back(run, 0, "not mine any more")
    track(run)
    assert "belongs to another run" in parent(run).data.tags["plumbline.rollback.1"]
    assert alias(run, "champion") == 2


def test_a_run_that_was_killed_without_a_word_is_killed_until_it_goes_on(run: Path) -> None:
    (run / "round-2" / "decision.json").rename(run / "kept.json")
    track(run)  # the last thing that its process did
    for _ in range(2):
        catch_up(run)
        assert (parent(run).info.status, parent(run).data.tags["plumbline.failure"]) == ("KILLED", SILENT)
    assert read_failure(run) == SILENT
    write_failure(run, "a gate stopped it")  # it went on, and has another reason now
    catch_up(run)
    assert (parent(run).info.status, parent(run).data.tags["plumbline.failure"]) == ("FAILED", "a gate stopped it")
    clear_failure(run)
    (run / "kept.json").rename(run / "round-2" / "decision.json")
    (run / "report.html").touch()
    write_failure(run, SILENT, killed=True)  # when everything but the last word was said
    catch_up(run)
    assert parent(run).info.status == "FINISHED" and read_failure(run) is None


def test_what_was_changed_on_the_command_line_or_in_a_form_is_tags_and_parameters(run: Path) -> None:
    from mlflow import MlflowClient

    changes = [{"key": "align.epochs", "was": "4", "now": "2"}, {"key": "seed", "was": None, "now": "3"}]
    (run / "round-2" / "overrides.json").write_text(json.dumps({"align.learning_rate": 1e-4, "align.objective.beta": 0.1}))
    for told_now in (changes[:1], changes):
        (run / "changes.json").write_text(json.dumps(told_now))
        assert not is_told(run)
        track(run)
        assert is_told(run)
    changed = {k: v for k, v in parent(run).data.tags.items() if k.startswith("plumbline.changed.")}
    assert changed == {"plumbline.changed.align.epochs": "4 → 2", "plumbline.changed.seed": "3"}
    client = MlflowClient(tracking_uri(run))
    experiment = client.get_experiment_by_name("demo").experiment_id
    first, second = (client.search_runs([experiment], f"tags.`plumbline.round` = '{k}'")[0].data for k in (1, 2))
    assert (first.params["align.objective.beta"], second.params["align.objective.beta"]) == ("0.5", "0.1")
    assert second.params["align.learning_rate"] == "0.0001"
    assert second.params["made_with.torch"] == made_with()["torch"]
    assert second.tags["plumbline.changed.align.objective.beta"] == "0.5 → 0.1"
    assert not any(tag.startswith("plumbline.changed.") for tag in first.tags)


def test_whatever_a_benchmark_calls_its_parts_is_a_name_that_mlflow_takes(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that it refused would keep the round, and all after it, from ever being told."""
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    client = MlflowClient(tracking_uri(tmp_path))
    id_ = create_run(client, tmp_path, "names", "names")
    plain = [("GSM8k (hard)", "GSM8k _hard_"), ("win@1", "win_1"), ("x" * 300, "x" * 250), ("métrique 漢", "métrique 漢")]
    paths = [("law/eu", "law/eu"), ("qa//en", "qa/en"), ("qa/", "qa"), ("/mine", "mine"), ("./b/../c", "b/c"), ("..", "_")]
    log_metrics(client, id_, [(given, float(i), 0) for i, (given, _) in enumerate([*plain, *paths])])
    log_params(client, id_, {given: given for given, _ in paths[:3]} | {"long": "y" * 2000})
    found = client.get_run(id_).data
    assert found.metrics == {made: float(i) for i, (_, made) in enumerate([*plain, *paths])}
    assert found.params == {"law/eu": "law/eu", "qa/en": "qa//en", "qa": "qa/", "long": "y" * 500}


def test_a_server_is_sent_no_more_at_once_than_it_takes() -> None:
    """MLflow's own limits; only a server holds to them, SQLite takes any number."""
    from mlflow.utils.validation import MAX_METRICS_PER_BATCH, MAX_PARAMS_TAGS_PER_BATCH

    sent: list[dict[str, list[Any]]] = []
    nothing = SimpleNamespace(data=SimpleNamespace(params={}))
    client = SimpleNamespace(log_batch=lambda _, **batch: sent.append(batch), get_run=lambda _: nothing)
    log_params(client, "id", {f"many.{i}": i for i in range(250)})
    log_metrics(client, "id", [("curve", 0.5, step) for step in range(2500)])
    params, metrics = ([len(batch[kind]) for batch in sent if kind in batch] for kind in ("params", "metrics"))
    assert max(params) <= MAX_PARAMS_TAGS_PER_BATCH and sum(params) == 250
    assert max(metrics) <= MAX_METRICS_PER_BATCH and sum(metrics) == 2500


def test_a_run_that_goes_on_otherwise_than_an_outage_left_it_is_told_all_the_same(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt got as far as the parameters; since then the run was given more rounds."""
    from mlflow import MlflowClient

    def gone(*_: Any) -> None:
        raise ConnectionError("the server is gone")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", gone)
        with pytest.raises(ConnectionError):
            track(run)
    assert (parent(run).data.params["rounds"], is_told(run)) == ("2", False)
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"rounds": 5}))
    track(run)
    assert is_told(run) and told(run)["runs"] == 4
