"""Answers of others are learnt only where the policy's chat template has answers stand."""

import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from data_contracts.errors import PlumblineError
from data_contracts.load_config import load_config
from flows import human_pairs, rounds
from flows.cli import app
from flows.template import check_judges, check_template, judges_of
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


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["judge={kind: likelihood}"], r"judge\.kind likelihood has .*<think>' is between\): use judge\.kind generation"),
        (["judge={verdict: probability}"], r"judge\.verdict probability has .*: use judge\.verdict text"),
        (["judge={kind: pointwise, verdict: choice}"], r"judge\.verdict choice has .*: use judge\.verdict text"),
        (["judge={kind: generation}", "pairs.second_view={kind: likelihood}"], r"pairs\.second_view\.kind likelihood has"),
        (["judge={kind: generation}"], None),
    ],
)
def test_a_local_teacher_that_thinks_first_is_asked_for_text_only(
    changes: list[str], said: str | None, thinking: Checkpoint
) -> None:
    plain = load_config(ROOT / "configs" / "demo.yaml", changes)
    check_judges(plain, judges_of(plain))
    config = load_config(ROOT / "configs" / "demo.yaml", [*changes, f"teacher.model={thinking.path}"])
    with nullcontext() if said is None else pytest.raises(PlumblineError, match=said):
        check_judges(config, judges_of(config))


def test_a_judge_alone_is_told_so_before_its_engine_starts(thinking: Checkpoint, tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    answers.write_text('{"prompt": "hello", "answer": "hi"}\n')
    asked = ["judge", "rate", str(ROOT / "configs" / "demo.yaml"), str(answers), "--out", str(tmp_path / "out")]
    told = CliRunner().invoke(app, [*asked, "--set", f"teacher.model={thinking.path}"])
    assert isinstance(told.exception, PlumblineError) and "judge.kind likelihood has the teacher" in str(told.exception)


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
