"""Answers of others are learnt only where the policy's chat template has answers stand."""

import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data_contracts.errors import PlumblineError
from data_contracts.load_config import load_config
from flows import human_pairs, rounds
from flows.template import check_template
from models.checkpoint import Checkpoint, open_checkpoint

ROOT = Path(__file__).resolve().parents[2]
SAID = r"thinking does not write an answer where it asks for one \('<think>' is between\)"


@pytest.fixture
def thinking(student: Checkpoint, tmp_path: Path) -> Checkpoint:
    """The student, asked as DeepSeek R1 is: behind an open thought."""
    shutil.copytree(student.path, folder := tmp_path / "thinking")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("{{ '<|assistant|>' }}", "{{ '<|assistant|><think>' }}"))
    return open_checkpoint(folder)


@pytest.mark.parametrize(
    ("changes", "own"),
    [
        (["method=on_policy_judge", "sample.n=2"], True),
        (["method={name: delta, stronger: policy, weaker: initial}"], True),
        (["method=clair"], False),
        (["method=self_revision"], False),
        (["method=stronger_preferred"], False),
    ],
)
def test_a_template_that_asks_behind_a_thought_serves_the_policys_own_samples_only(
    changes: list[str], own: bool, thinking: Checkpoint, student: Checkpoint
) -> None:
    config = load_config(ROOT / "configs" / "demo.yaml", changes)
    check_template(config, student)
    with nullcontext() if own else pytest.raises(PlumblineError, match=SAID):
        check_template(config, thinking)


@pytest.mark.parametrize(("name", "module"), [("demo", rounds), ("human_pairs", human_pairs)])
def test_it_is_told_before_anything_is_read_or_sampled(
    name: str, module: Any, thinking: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(ROOT / "configs" / f"{name}.yaml")
    session = SimpleNamespace(folder=tmp_path, config=config, rounds=config, policy=thinking, engine=lambda: None)
    monkeypatch.setattr(module, "current", lambda: session)
    monkeypatch.setattr(module, "telling_failure", lambda _: nullcontext())
    monkeypatch.setattr("flows.story.changes", lambda *_: None)
    with pytest.raises(PlumblineError, match=SAID):
        {"demo": rounds.rounds_flow, "human_pairs": human_pairs.human_pairs_flow}[name].fn("x")
