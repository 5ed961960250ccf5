"""What a run holds while it works: its folder, its configuration, and the things that are dear to start.

One session a process. Flows take plain values (a folder, a round's number), so that Prefect can schedule and show them; what
cannot be a flow parameter (an engine, a subprocess, a lock) is found here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from data_contracts.config import HumanPairsConfig, RoundsConfig
from data_contracts.config_judge import JudgeConfig
from data_contracts.config_pairs import Source
from data_contracts.errors import PlumblineError
from data_contracts.store import digest, file_digest, load_json, write_json
from flows.display import console
from flows.lock import locked
from models.benchmark import split_files
from models.benchmark_hub import open_benchmark
from models.check_model import check_model, check_trainable
from models.checkpoint import Checkpoint, load_tokenizer, open_checkpoint, positions
from models.gpus import engines, trainers, visible
from models.parsers import asks_teacher
from models.tokenizer import misread
from models.training.process import Trainer
from tasks.evaluate import answers_folder, check_room
from tasks.import_recorded import check_lines
from tasks.lineage import Standing, standing
from tasks.prompts import check_appended
from tasks.sample_others import Writer, checkpoint_writer, file_writer, teacher_writer
from tasks.tracking_process import Teller

if TYPE_CHECKING:
    from prefect.futures import PrefectFuture

    from models.engine import Engine
    from models.journal import Journal
    from models.teacher import Teacher


@dataclass
class Session:
    folder: Path
    config: RoundsConfig | HumanPairsConfig
    trainer: Trainer
    policy: Checkpoint
    teacher_model: Checkpoint | None = None
    others: dict[str, Checkpoint] = field(default_factory=dict)  # what the pair method samples besides, by its name in the config
    lender: "Session | None" = field(default=None, repr=False)  # a sweep's: its engine and teacher serve every cell
    overrides: dict[str, float] = field(default_factory=dict)  # what rounds that begin now do differently
    telling: "PrefectFuture[dict[str, str]] | None" = field(default=None, repr=False)  # what MLflow is being told
    _teller: Teller | None = field(default=None, repr=False)
    _failure: Exception | None = field(default=None, repr=False)  # why the engine did not start
    _engine: "Engine | None" = field(default=None, repr=False)
    _teacher: "Teacher | None" = field(default=None, repr=False)
    _journal: "Journal | None" = field(default=None, repr=False)

    @property
    def rounds(self) -> RoundsConfig:
        assert isinstance(self.config, RoundsConfig)
        return self.config

    @property
    def retries(self) -> int:
        """Of a stage that asks the teacher: a server may be away for a while, the run's own engine is not."""
        return 2 if self.rounds.teacher.kind in ("openai", "vllm") else 0

    def engine(self) -> "Engine":
        """The run's engine, started when first needed."""
        if self.lender is not None:
            return self.lender.engine()
        if self._failure is not None:
            raise self._failure
        if self._engine is None:
            from models.engine_replicas import open_engine

            teacher, log = self.rounds.teacher, self.folder / "logs" / "engines.log"
            self._engine = open_engine(self.policy, engines(self.rounds.engine, teacher), log, teacher)
        return self._engine

    def warm(self) -> None:
        """Start trainer and engine before anybody asks for them. Why one of them cannot take the policy, hears who asks first."""
        self.trainer.warm()
        if isinstance(self.config, RoundsConfig):
            try:
                self.engine()
                self.trainer.run({"kind": "prove", "policy": str(self.policy.path)})
            except Exception as error:  # the edge: whatever vLLM says belongs into the flow, which tells it everywhere
                self._failure = error
            else:
                self._tell_misread()

    def _tell_misread(self) -> None:
        if misread(self.policy.path):
            console().print(
                f"[yellow]![/] policy: transformers' AutoTokenizer reads texts otherwise than {escape(str(self.policy.path))}/"
                "tokenizer.json says; plumbline goes by the file, but what else serves these models (vLLM, say) may not"
            )

    def journal(self) -> "Journal":
        """Every teacher call of the run."""
        if self.lender is not None:
            return self.lender.journal()
        if self._journal is None:
            from models.teachers.open import open_journal

            self._journal = open_journal(self.rounds.teacher, self.folder)
            self._journal.release()  # the folder is locked: whoever claimed something for this run is gone
        return self._journal

    @property
    def teller(self) -> Teller:
        """Who tells MLflow, beside the stages."""
        if self._teller is None:
            self._teller = Teller(self.folder / "logs" / "mlflow.log")
        return self._teller

    def teacher(self) -> "Teacher":
        if self.lender is not None:
            return self.lender.teacher()
        if self._teacher is None:
            from models.teachers.open import open_teacher

            self._teacher = open_teacher(self.rounds.teacher, self.folder, self.journal(), self.teacher_model, self.engine)
        return self._teacher

    def measures(self) -> tuple["Engine", "Teacher | None", Path]:
        """What evaluating takes: the engine, who reads if a model does, and where runs side by side keep their answers."""
        reader = self.teacher() if asks_teacher(self.rounds.evaluate.parser) else None
        return self.engine(), reader, answers_folder(self.folder)

    def judge(self, config: JudgeConfig) -> "Teacher":
        """Whom a judge of this configuration asks. A preference model asks nobody, and gets the GPU from the engine."""
        if config.kind == "preference_model":
            self.align_alone()
        return self.teacher()

    def policy_as_teacher(self, policy: Checkpoint) -> "Teacher":
        """`policy` as its own teacher: self-revision."""
        from models.teacher import local_teacher

        return local_teacher(self.engine, policy, self.journal())

    def writer(self, source: Source, champion: Standing, number: int, seed: int) -> Writer:
        """Who answers the prompts of round `number`, besides the policy or in its place."""
        if source.kind == "file":
            path = Path(source.file)
            return file_writer(path, source.prompt, source.answer, file_digest(path))
        temperature = self.rounds.sample.temperature if source.temperature is None else source.temperature
        if source.kind == "teacher":
            return teacher_writer(self.teacher(), temperature, seed)
        if source.kind == "checkpoint":
            return checkpoint_writer(self.others[source.model], temperature, self.engine())
        model = self.policy if source.kind == "initial" else champion.model
        if source.kind == "previous" and number > 1:
            model = standing(self.folder, self.policy, number - 1).model
        return checkpoint_writer(model, temperature, self.engine())

    def align_alone(self) -> None:
        """Before training, or whatever else loads a model of its own: the engine gives back the GPU."""
        if self.lender is not None:
            self.lender.align_alone()
        elif self._engine is not None:
            self._engine.rest()
            if self._teacher is not None and self._engine.on_gpu and getattr(self.rounds.teacher, "gpus", "") is None:
                self._teacher.close()  # a server beside the engine has memory, too

    def close(self) -> None:
        if self._teller is not None:
            self._teller.close()
        if self.lender is None:
            self.trainer.close()
            self.drop()

    def drop(self) -> None:
        """Close engine and teacher; they are started anew when next needed."""
        if self._teacher is not None:
            self._teacher.close()
        if self._journal is not None:
            self._journal.close()
        if self._engine is not None:
            self._engine.close()
        self._teacher = self._journal = self._engine = self._failure = None

    def reopen(self, config: RoundsConfig | HumanPairsConfig) -> None:
        """Lend what `config` needs from now on. Raises PlumblineError if a model cannot be used."""
        self.config, self.policy, self.teacher_model = config, open_checkpoint(config.policy), _open_teacher(config)


_current: list[Session] = []


def current() -> Session:
    return _current[-1]


@contextmanager
def open_session(
    folder: Path,
    config: RoundsConfig | HumanPairsConfig,
    overrides: dict[str, float] | None = None,
    lender: Session | None = None,
) -> Iterator[Session]:
    """Lock the run folder and check the models; at the end leave no process behind.

    With a `lender` its trainer, engine and teacher are used, and stay open.

    Raises BusyError if another process works on the folder, PlumblineError if a model cannot be used.
    """
    with locked(folder):
        policy, teacher, others = open_models(config)
        check_inputs(folder, config, policy, teacher, others)
        trainer = lender.trainer if lender else _open_trainer(folder, config)
        session = Session(folder, config, trainer, policy, teacher, others, lender, overrides or {})
        _current.append(session)
        try:
            yield session
        finally:
            _current.pop()
            session.close()


def open_models(config: RoundsConfig | HumanPairsConfig) -> tuple[Checkpoint, Checkpoint | None, dict[str, Checkpoint]]:
    """The policy, the teacher if it is a model here, and by their names in the configuration what else the run asks.

    Raises PlumblineError if one of them cannot be used, or not for the lengths that the configuration asks for.
    """
    policy = open_checkpoint(config.policy)
    teacher = _open_teacher(config)
    others = _open_others(config) | _open_second(config, policy)
    for model in (policy, *([teacher] if teacher else [])):
        check_model(model.path)
    check_trainable(policy.path)
    _check_lengths(config, policy, teacher)
    return policy, teacher, others


@contextmanager
def open_lender(folder: Path, config: RoundsConfig | HumanPairsConfig) -> Iterator[Session]:
    """A session for the cells of a sweep to borrow from, with what `config` needs."""
    with locked(folder):
        trainer = _open_trainer(folder, config)
        session = Session(folder, config, trainer, open_checkpoint(config.policy), _open_teacher(config))
        try:
            yield session
        finally:
            session.close()


def _open_trainer(folder: Path, config: RoundsConfig | HumanPairsConfig) -> Trainer:
    gpus = trainers(visible(), config.teacher if isinstance(config, RoundsConfig) else None)
    return Trainer(folder / "logs" / "trainer.log", config.align.processes, gpus)


def _open_teacher(config: RoundsConfig | HumanPairsConfig) -> Checkpoint | None:
    if isinstance(config, RoundsConfig) and config.teacher.kind in ("local", "vllm"):
        return open_checkpoint(config.teacher.model)
    return None


def _open_others(config: RoundsConfig | HumanPairsConfig) -> dict[str, Checkpoint]:
    """The checkpoints that the pair method names. Raises PlumblineError for one that cannot answer the run's prompts."""
    if not isinstance(config, RoundsConfig):
        return {}
    others = {w.model: open_checkpoint(w.model) for w in config.method.writers if w.kind == "checkpoint"}
    for name, checkpoint in others.items():
        check_model(checkpoint.path)
        load_tokenizer(checkpoint.path)  # it must name an end of sequence
        limit = positions(checkpoint.path)
        if limit and limit < config.engine.max_model_len:
            raise PlumblineError(
                f"the model {name}, named by method {config.method.name}, takes {limit} tokens and engine.max_model_len is "
                f"{config.engine.max_model_len}: lower it or name another model"
            )
    return others


def _open_second(config: RoundsConfig | HumanPairsConfig, policy: Checkpoint) -> dict[str, Checkpoint]:
    """Raises PlumblineError for a second reference that does not read the policy's tokens."""
    name = config.align.second_reference
    if name in (None, "initial", "previous"):
        return {}
    found = open_checkpoint(str(name))
    if load_tokenizer(found.path).get_vocab() != load_tokenizer(policy.path).get_vocab():
        raise PlumblineError(f"align.second_reference {name} has another tokenizer than the policy: name a model that shares it")
    return {str(name): found}


def _check_lengths(config: RoundsConfig | HumanPairsConfig, policy: Checkpoint, teacher: Checkpoint | None) -> None:
    """Raises PlumblineError for budgets of tokens that cannot all be kept."""
    limit = positions(policy.path)
    if limit and config.validate_.max_tokens > limit:
        raise PlumblineError(f"validate.max_tokens is {config.validate_.max_tokens}, but the policy takes {limit}: lower it")
    if isinstance(config, RoundsConfig) and config.sample.max_tokens >= config.engine.max_model_len:
        raise PlumblineError(
            f"sample.max_tokens {config.sample.max_tokens} leaves no room for a prompt in engine.max_model_len "
            f"{config.engine.max_model_len}: raise the latter"
        )
    if isinstance(config, RoundsConfig):
        length = config.engine.max_model_len
        taken = [("engine", length, "policy", policy)]
        if teacher and config.teacher.kind == "vllm":
            taken.append(("teacher", config.teacher.max_model_len, "teacher", teacher))
        elif teacher:
            taken.append(("engine", length, "teacher", teacher))
        for group, wanted, who, model in taken:
            limit = positions(model.path)
            if limit and limit < wanted:
                raise PlumblineError(f"{group}.max_model_len is {wanted}, but the {who} takes {limit} tokens: lower it")
        check_room(config.evaluate, policy, config.engine.max_model_len)


def check_inputs(
    folder: Path,
    config: RoundsConfig | HumanPairsConfig,
    policy: Checkpoint,
    teacher: Checkpoint | None,
    others: dict[str, Checkpoint],
) -> None:
    """Raises PlumblineError if a file or model that the run began with has another content by now."""
    models = {"policy": policy} | ({"teacher.model": teacher} if teacher else {}) | others
    names = {name: model.hash for name, model in models.items()}
    if isinstance(config, RoundsConfig):
        names["prompts.file"] = file_digest(Path(config.prompts.file))
        names |= {w.file: file_digest(Path(w.file)) for w in config.method.writers if w.kind == "file"}
        names["evaluate.benchmark"] = digest([file_digest(p) for p in _benchmark_files(config.evaluate.benchmark)])
    else:
        names["pairs.file"] = file_digest(Path(config.pairs.file))
    path = folder / "inputs.json"
    if path.exists():
        before = load_json(path)
        changed = [name for name, found in names.items() if before.get(name) != found]
        if changed == ["prompts.file"] and isinstance(config, RoundsConfig):
            check_appended(folder, config.prompts)  # a run that goes on takes new prompts from the end of its file
            check_lines(folder, config.prompts)
            write_json(path, names)
        elif changed:
            raise PlumblineError(
                f"{changed[0]} was changed since the run in {folder} began: put it back or use another --run-dir"
            )
    else:
        write_json(path, names)


def _benchmark_files(reference: str) -> list[Path]:
    return sorted(p for paths in split_files(open_benchmark(reference)).values() for p in paths)
