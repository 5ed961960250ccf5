"""What a run holds while it works: its folder, its configuration, and the things that are dear to start.

One session a process. Flows take plain values (a folder, a round's number), so that Prefect can schedule and show them; what
cannot be a flow parameter (an engine, a subprocess, a lock) is found here.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.config import HumanPairsConfig, RoundsConfig
from data_contracts.errors import BusyError, PlumblineError
from data_contracts.store import digest, file_digest, write_text
from models.checkpoint import Checkpoint, open_checkpoint
from models.training.process import Trainer
from tasks.prompts import check_appended

if TYPE_CHECKING:
    from prefect.futures import PrefectFuture

    from models.engine import Engine
    from models.teacher import Teacher


@dataclass
class Session:
    folder: Path
    config: RoundsConfig | HumanPairsConfig
    trainer: Trainer
    policy: Checkpoint
    teacher_model: Checkpoint | None = None
    telling: "PrefectFuture[None] | None" = field(default=None, repr=False)  # what MLflow is being told
    overrides: dict[str, float] = field(default_factory=dict)  # what rounds that begin now do differently
    _engine: "Engine | None" = field(default=None, repr=False)
    _teacher: "Teacher | None" = field(default=None, repr=False)

    @property
    def rounds(self) -> RoundsConfig:
        assert isinstance(self.config, RoundsConfig)
        return self.config

    def engine(self) -> "Engine":
        """The run's one engine, started when first needed."""
        if self._engine is None:
            from models.engine import Engine

            self._engine = Engine(self.policy, self.rounds.engine)
        return self._engine

    def teacher(self) -> "Teacher":
        if self._teacher is None:
            from models.journal import Journal
            from models.teacher import local_teacher, openai_teacher

            journal = Journal(self.folder / "journal.db")
            config = self.rounds.teacher
            if config.kind == "openai":
                self._teacher = openai_teacher(config, journal)
            else:
                assert self.teacher_model is not None
                self._teacher = local_teacher(self.engine(), self.teacher_model, journal)
        return self._teacher

    def align_alone(self) -> None:
        """Before training: the engine gives back the GPU."""
        if self._engine is not None:
            self._engine.rest()

    def close(self) -> None:
        self.trainer.close()
        if self._engine is not None:
            self._engine.close()


_current: list[Session] = []


def current() -> Session:
    return _current[-1]


@contextmanager
def open_session(
    folder: Path, config: RoundsConfig | HumanPairsConfig, overrides: dict[str, float] | None = None
) -> Iterator[Session]:
    """Lock the run folder, check the models, and warm the trainer; at the end leave no process behind.

    Raises BusyError if another process works on the folder, PlumblineError if a model cannot be used.
    """
    with _locked(folder):
        policy = open_checkpoint(config.policy)
        local = isinstance(config, RoundsConfig) and config.teacher.kind == "local"
        teacher = open_checkpoint(config.teacher.model) if local else None  # type: ignore[union-attr]
        _check_lengths(config, policy)
        _check_inputs(folder, config, policy, teacher)
        session = Session(folder, config, Trainer(folder / "logs" / "trainer.log"), policy, teacher, overrides=overrides or {})
        _current.append(session)
        try:
            session.trainer.warm()
            yield session
        finally:
            _current.pop()
            session.close()


def _check_lengths(config: RoundsConfig | HumanPairsConfig, policy: Checkpoint) -> None:
    """Raises PlumblineError for budgets of tokens that cannot all be kept."""
    model = json.loads((policy.path / "config.json").read_text())
    positions = model.get("text_config", model).get("max_position_embeddings")
    if positions and config.validate_.max_tokens > positions:
        raise PlumblineError(f"validate.max_tokens is {config.validate_.max_tokens}, but the policy takes {positions}: lower it")
    if isinstance(config, RoundsConfig) and config.sample.max_tokens >= config.engine.max_model_len:
        raise PlumblineError(
            f"sample.max_tokens {config.sample.max_tokens} leaves no room for a prompt in engine.max_model_len "
            f"{config.engine.max_model_len}: raise the latter"
        )


def _check_inputs(folder: Path, config: RoundsConfig | HumanPairsConfig, policy: Checkpoint, teacher: Checkpoint | None) -> None:
    """Raises PlumblineError if a file or model that the run began with has another content by now."""
    names = {"policy": policy.hash} | ({"teacher.model": teacher.hash} if teacher else {})
    if isinstance(config, RoundsConfig):
        names["prompts.file"] = file_digest(Path(config.prompts.file))
        names["evaluate.benchmark"] = digest([file_digest(p) for p in sorted(Path(config.evaluate.benchmark).glob("*.json"))])
    else:
        names["pairs.file"] = file_digest(Path(config.pairs.file))
    path = folder / "inputs.json"
    if path.exists():
        changed = [name for name, found in names.items() if json.loads(path.read_text()).get(name) != found]
        if changed == ["prompts.file"] and isinstance(config, RoundsConfig):
            check_appended(folder, config.prompts)  # a run that goes on takes new prompts from the end of its file
            write_text(path, json.dumps(names, indent=2))
        elif changed:
            raise PlumblineError(
                f"{changed[0]} was changed since the run in {folder} began: put it back or use another --run-dir"
            )
    else:
        write_text(path, json.dumps(names, indent=2))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise BusyError(
                f"another process ({lock.read().strip() or 'unknown'}) is working on {folder}: wait for it or stop it"
            ) from None
        lock.truncate(0)
        lock.write(f"pid {os.getpid()}")
        lock.flush()
        yield
