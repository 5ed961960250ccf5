"""Measure one checkpoint outside a run: response files as MixEval lays them out, on an engine of its own."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.config import EngineConfig, RoundsConfig
from data_contracts.config_evaluate import EvaluateConfig
from data_contracts.errors import PlumblineError
from data_contracts.load_config import load_rounds
from data_contracts.store import digest, load_json, write_json
from flows.display import quiet_libraries, working
from flows.lock import locked
from flows.reachable import doubtful
from models.answers import answer, encode
from models.check_model import check_model
from models.checkpoint import Checkpoint, load_tokenizer, open_checkpoint, positions
from models.engine import Progress, quiet
from models.parsers import asks_teacher
from models.responses import Responses, read_responses, response_folder, write_responses
from models.teachers.reach import key_of
from tasks.evaluate import answers_folder, prepare

if TYPE_CHECKING:
    from models.engine import Engine
    from models.teacher import Teacher

_ROOM = 4096  # tokens the engine takes at least, where the model does: a judge's prompt is longer than the question


def answer_benchmark(
    model: str, config: EvaluateConfig, root: Path, name: str | None, watched: bool, reader: RoundsConfig | None = None
) -> tuple[Path, Responses]:
    """The folder of `model`'s response files below `root`, and what they hold. Finished ones are read, and no engine starts.

    `reader` is the run whose teacher will read them, and is tried before the model answers, which takes long.

    Raises PlumblineError if the folder holds the answers of other weights, or to other questions or prompts, and if the reader
    cannot be asked; BusyError while another process writes there.
    """
    asked, policy = prepare(config), open_checkpoint(model)
    folder = response_folder(root, name or Path(model).resolve().name, asked.name)
    key = digest([policy.hash, {k: v for k, v in asked.slice.items() if k != "parser"}])
    note = folder / "evaluation.json"
    if note.exists():
        if load_json(note)["key"] != key:
            raise PlumblineError(f"{folder} holds answers of other weights, or to other prompts: choose another --name or --out")
        return folder, read_responses(folder)
    prompts = [asked.prompt(question) for question in asked.questions]
    chat = config.prompts != "mixeval-base"
    check_model(policy.path, chat)
    if reader is not None:
        _reader_model(reader)
        if doubt := doubtful(reader.teacher, folder):
            print(f"! {doubt}", file=sys.stderr)  # and not where programs read
    longest = max(map(len, encode(load_tokenizer(policy.path, chat), prompts, chat)))
    length = min(positions(policy.path) or longest + config.max_tokens, max(longest + config.max_tokens, _ROOM))
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder), _engine(policy, EngineConfig(max_model_len=length), folder / "evaluate.log", watched) as get:
        engine = get()
        with watch("answers", watched) as progress:
            given = answer(engine, policy, prompts, config.max_tokens, chat, answers_folder(root), progress)
    texts = tuple(completion.text for completion in given.completions)
    found = Responses(folder.parent.parent.name, asked.name, asked.questions, tuple(prompts), texts)
    write_responses(folder, found)
    how = config.model_dump(include={"prompts", "max_tokens"})
    made = {"key": key, "policy": policy.hash, "benchmark": asked.name, **how}
    write_json(note, made)
    return folder, found


@contextmanager
def open_reader(parser: str, config: Path | None, folder: Path, watched: bool) -> Iterator["Teacher | None"]:
    """Who reads the answers: nobody for a rule, else the teacher of a run's configuration, with its journal in `folder`.

    A local teacher's engine starts with the first question that the journal does not answer.

    Raises PlumblineError for a model parser without a configuration.
    """
    if not asks_teacher(parser):
        yield None
        return
    with open_asked(reader_of(parser, config), folder, watched) as teacher:
        yield teacher


def reader_of(parser: str, config: Path | None) -> RoundsConfig:
    """The run whose teacher reads for a model parser. Raises PlumblineError if `config` names none."""
    if config is None:
        raise PlumblineError(f"the parser {parser} has a model read the answers: give --teacher a run's configuration")
    run = load_rounds(config, "teacher")
    if run.teacher.kind == "openai":
        key_of(run.teacher)
    return run


def _reader_model(run: RoundsConfig) -> Checkpoint | None:
    """The teacher's own, if it has one. Raises PlumblineError if it cannot be used."""
    if run.teacher.kind not in ("local", "vllm"):
        return None
    checkpoint = open_checkpoint(run.teacher.model)
    check_model(checkpoint.path)
    return checkpoint


@contextmanager
def open_asked(run: RoundsConfig, folder: Path, watched: bool) -> Iterator["Teacher"]:
    """The teacher of a run's configuration outside that run, with its journal in `folder`. A local one's engine starts with the
    first question that the journal does not answer, and ends with it.

    Raises BusyError while another process works there.
    """
    from models.teachers.open import open_journal, open_teacher

    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = _reader_model(run)
    with (
        locked(folder),
        closing(open_journal(run.teacher, folder)) as journal,
        _engine(checkpoint, run.engine, folder / "evaluate.log", watched) as get,
        closing(open_teacher(run.teacher, folder, journal, checkpoint, get)) as teacher,
    ):
        yield teacher


@contextmanager
def _engine(checkpoint: Checkpoint | None, config: EngineConfig, log: Path, watched: bool) -> Iterator[Callable[[], "Engine"]]:
    """A function that gives the engine, started when first called; what it prints goes to `log`."""
    started: list[Engine] = []

    def engine() -> "Engine":
        if not started:
            from models.engine_replicas import open_engine

            assert checkpoint is not None
            with watch("starting engine", watched):
                started.append(open_engine(checkpoint, config, log))
        return started[0]

    with quiet_libraries(log):
        try:
            yield engine
        finally:
            for one in started:
                one.close()


def watch(label: str, watched: bool) -> AbstractContextManager[Progress]:
    """Where the output is for programs, nothing else may be printed."""
    return working(label) if watched else nullcontext(quiet)
