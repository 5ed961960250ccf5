"""What a session starts ahead of need, and who hears of it when that fails."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from data_contracts.config import RoundsConfig
from data_contracts.config_judge import JudgeConfig
from data_contracts.errors import PlumblineError
from data_contracts.load_config import load_config
from flows.session import Session
from models.checkpoint import Checkpoint
from models.training.process import Trainer
from tests.models.families import REFUSED, TRAINED, config_of


def test_an_engine_that_does_not_start_is_told_to_who_asks_for_it_and_may_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[str]()

    def start(policy: Checkpoint, *_: object) -> str:
        asked.append(policy.hash)
        if len(asked) == 1:
            raise RuntimeError("no memory left")
        return "an engine"

    monkeypatch.setattr("models.engine_replicas.open_engine", start)
    config = load_config(Path("configs/demo.yaml"))
    assert isinstance(config, RoundsConfig)
    trainer = SimpleNamespace(warm=lambda: None)
    session = Session(tmp_path, config, trainer, Checkpoint(tmp_path, "abc"))  # type: ignore[arg-type]
    session.warm()  # the flow that would tell it does not run yet
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no memory left"):
            session.engine()
    assert asked == ["abc"]
    session.drop()
    assert session.engine() == "an engine"  # type: ignore[comparison-overlap]


def test_a_judge_that_loads_a_model_of_its_own_gets_the_gpu_from_the_engine(tmp_path: Path) -> None:
    config = load_config(Path("configs/demo.yaml"))
    assert isinstance(config, RoundsConfig)
    told = list[str]()
    engine = SimpleNamespace(rest=lambda: told.append("rests"), on_gpu=True)
    teacher = SimpleNamespace(close=lambda: told.append("closed"))
    trainer = SimpleNamespace()
    session = Session(tmp_path, config, trainer, Checkpoint(tmp_path, "abc"))  # type: ignore[arg-type]
    session._engine, session._teacher = engine, teacher  # type: ignore[assignment]
    assert session.judge(JudgeConfig()) is teacher and told == []
    assert session.judge(JudgeConfig(kind="preference_model", model="m")) is teacher and told == ["rests"]


def test_a_policy_that_cannot_be_trained_is_told_before_anything_is_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainer: Trainer
) -> None:
    monkeypatch.setattr("models.engine_replicas.open_engine", lambda *_: "an engine")
    config = load_config(Path("configs/demo.yaml"))
    for name, (family, changes) in {"lfm 2": REFUSED["lfm 2"], "llama 3": TRAINED["llama 3"]}.items():
        config_of(family, changes).save_pretrained(tmp_path / name)
        session = Session(tmp_path, config, trainer, Checkpoint(tmp_path / name, "abc"))
        session.warm()
        if name in REFUSED:
            with pytest.raises(PlumblineError, match="Lfm2ForCausalLM cannot be trained here"):
                session.engine()
        else:
            assert session.engine() == "an engine"  # type: ignore[comparison-overlap]
