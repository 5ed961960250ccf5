"""Who answers for which source: checkpoints by their hash, the round before by its policy, others by name."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data_contracts.config_pairs import CheckpointSource, FileSource, NamedSource
from data_contracts.config_teacher import LocalTeacher
from data_contracts.store import file_digest
from flows import session
from flows.session import Session
from models.checkpoint import Checkpoint
from models.journal import Journal
from models.teacher import Teacher
from models.teachers.open import open_journal
from tasks.lineage import Standing


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session in which the policy of round k is called `policy<k>`; nothing is started."""
    config: Any = SimpleNamespace(sample=SimpleNamespace(temperature=0.7))
    monkeypatch.setattr(Session, "rounds", property(lambda _self: config))
    monkeypatch.setattr(session, "standing", lambda _run, _start, number: Standing(0, policy(number), None))  # type: ignore[arg-type]
    others = {"org/other": Checkpoint(tmp_path, "other")}
    made = Session(tmp_path, config, None, Checkpoint(tmp_path, "start"), None, others)  # type: ignore[arg-type]
    made._engine = SimpleNamespace()  # type: ignore[assignment]
    made._teacher = Teacher("teacher", lambda *_: [])
    return made


def test_a_run_that_was_killed_does_not_wait_for_its_own_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder is locked, so whoever claimed something in its name is gone; other runs' claims stand."""
    teacher = LocalTeacher(kind="local", model="m")
    monkeypatch.setattr(Session, "rounds", property(lambda _self: SimpleNamespace(teacher=teacher)))
    open_journal(teacher, tmp_path).claim(["a"], "killed", 1)
    journal = Session(tmp_path, None, None, Checkpoint(tmp_path, "start")).journal()  # type: ignore[arg-type]
    Journal(journal.path, "another run").claim(["b"], "alive", 1)
    assert journal.claim(["a", "b"], "resumed", 2) == {"a"}


def policy(number: int) -> Checkpoint:
    return Checkpoint(Path(), f"policy{number}")


def test_each_source_is_whom_it_names(running: Session) -> None:
    def name(kind: Any, number: int = 3) -> str:
        return running.writer(NamedSource(kind=kind), Standing(0, policy(number), None), number, 0).name  # type: ignore[arg-type]

    assert [name(kind) for kind in ("policy", "initial", "previous", "teacher")] == ["policy3", "start", "policy2", "teacher"]
    assert name("previous", 1) == "policy1"  # nothing came before


def test_a_source_has_its_own_temperature_or_the_samples(running: Session, tmp_path: Path) -> None:
    standing: Any = Standing(0, policy(1), None)  # type: ignore[arg-type]
    hot, plain = (NamedSource(kind="teacher", temperature=t) for t in (1.5, None))
    assert [running.writer(source, standing, 1, 0).temperature for source in (hot, plain)] == [1.5, 0.7]
    other = running.writer(CheckpointSource(kind="checkpoint", model="org/other", temperature=0.0), standing, 1, 0)
    assert (other.name, other.temperature) == ("other", 0.0)
    path = tmp_path / "answers.jsonl"
    path.write_text("{}\n")
    file = running.writer(FileSource(kind="file", file=str(path), answer="gpt"), standing, 1, 0)
    assert file.name == f"gpt to prompt in file {file_digest(path)}"
