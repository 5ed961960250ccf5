"""MLflow is told what the run folder holds, once, whatever happened to the server in between."""

import json
from pathlib import Path

import pytest
import yaml

from tasks.tracking import track, tracking_uri
from tests.tasks.run_folder import make_run


def trackable(folder: Path) -> Path:
    """What `track` also reads of a real run: weights to register, and a parameter longer than MLflow takes."""
    weights = [folder.parent / "student", *(p.parent / "model" for p in folder.glob("round-*/align/manifest.json"))]
    for path in weights:
        path.mkdir(exist_ok=True)
        (path / "config.json").write_text("{}")
        (path / "model.safetensors").touch()
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["policy"], config["note"] = str(weights[0]), "x" * 3000
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return trackable(make_run(tmp_path / "run"))


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
        "champion": int(client.get_model_version_by_alias("demo", "champion").tags["plumbline.round"]),
    }


def test_told_twice_it_is_known_once(run: Path) -> None:
    promoted = [json.loads((run / f"round-{k}" / "decision.json").read_text())["promoted"] for k in (1, 2)]
    expected = {"runs": 4, "overall": 3, "versions": 3, "champion": 2 if promoted[1] else 1}
    track(run)
    assert told(run) == expected
    track(run)
    assert told(run) == expected


def test_after_an_outage_only_what_was_missed_is_told(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tasks.tracking as tracking

    real = tracking._register

    def broken(client, name, weights, run_id, number, is_champion):  # type: ignore[no-untyped-def]
        if number == 2:
            raise ConnectionError("the server is gone")
        real(client, name, weights, run_id, number, is_champion)

    monkeypatch.setattr(tracking, "_register", broken)
    with pytest.raises(ConnectionError):
        track(run)
    assert json.loads((run / "tracking.json").read_text())["done"] == ["config", "round-0", "round-1"]
    monkeypatch.setattr(tracking, "_register", real)
    track(run)
    assert told(run)["runs"] == 4
    assert told(run)["overall"] == 3


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
