"""From pairs to a preference model in its folder, and from there to MLflow's registry."""

import pytest

from data_contracts.config_preference import PreferenceConfig
from data_contracts.errors import PlumblineError
from data_contracts.store import open_dataset
from models.preference.store import open_preference
from models.training.progress import silent
from tasks.preference import train_preference
from tests.pairs_dataset import pairs_dataset


def test_pairs_become_a_model_with_its_card_and_a_registered_version(tmp_path, tiny, trainer, monkeypatch):
    data = pairs_dataset(tmp_path / "pairs", tiny, 40)
    config = PreferenceConfig(kind="gpm", learning_rate=3e-3, epochs=2, batch_size=8, held_out=0.25)
    out = tmp_path / "model"
    card = train_preference(out, data.folder, tiny, config, trainer, silent)
    assert card["pairs"] + card["held_out_pairs"] == 40 and card["steps"] == 2 * -(-card["pairs"] // 8)
    accuracy = card["accuracy"]
    assert 0 <= accuracy["low"] <= accuracy["mean"] <= accuracy["high"] <= 1 and card["base"] == tiny.hash
    saved = open_preference(out)
    assert saved.checkpoint.hash == card["hash"] != tiny.hash and saved.card["kind"] == "gpm"
    sides = [open_dataset(out / "data" / side).records() for side in ("train", "held_out")]
    asked = [{row["prompt"][0]["content"] for row in side} for side in sides]
    assert not asked[0] & asked[1]
    with pytest.raises(PlumblineError, match="exists already"):
        train_preference(out, data.folder, tiny, config, trainer, silent)

    from mlflow import MlflowClient

    from tasks.tracking_preference import register_preference

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    assert register_preference(out, "judge") == "1"
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    version = client.get_model_version_by_alias("judge", "candidate")
    run = client.get_run(version.run_id)
    assert run.data.metrics["accuracy.mean"] == accuracy["mean"] and run.data.params["kind"] == "gpm"


def test_what_is_no_pairs_dataset_is_told(tmp_path, tiny, trainer):
    with pytest.raises(PlumblineError, match="there is no file"):
        train_preference(tmp_path / "model", tmp_path / "nothing.jsonl", tiny, PreferenceConfig(), trainer, silent)
    assert not list(tmp_path.iterdir())
