"""Benchmark questions -> the policy's greedy answers, parsed and scored, with intervals clustered by distinct question."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.config_evaluate import EvaluateConfig
from data_contracts.errors import PlumblineError
from data_contracts.store import Dataset, Rows, build, digest
from models.answers import answer, encode
from models.benchmark import Question, benchmark_name, load_benchmark
from models.benchmark_hub import open_benchmark
from models.benchmark_prompts import heard, prompt_builder
from models.checkpoint import Checkpoint, load_tokenizer
from models.engine import Progress, quiet
from models.parsers import asks_teacher, parser_label, read_answers
from models.teacher import Teacher, metered
from models.text_measures import sizes
from tasks.score import metrics, scored_rows

if TYPE_CHECKING:
    from models.engine import Engine


_TEMPLATE = 256  # tokens that a chat template may add


@dataclass(frozen=True)
class Evaluation:
    """What is asked, and the slice of configuration that decides its answers; what was asked counts, not where it lies."""

    name: str
    questions: tuple[Question, ...]
    prompt: Callable[[Question], str]
    slice: dict[str, Any]


def prepare(config: EvaluateConfig) -> Evaluation:
    """Raises PlumblineError if the benchmark or the examples for base models are missing or malformed."""
    source = open_benchmark(config.benchmark)
    questions = load_benchmark(source)
    prompt = prompt_builder(config.prompts, Path(config.shots) if config.shots else None)
    asked = {"benchmark": benchmark_name(source), "questions": digest([[q.id, q.content] for q in questions])}
    if config.prompts == "mixeval-base":
        asked["shots"] = digest([prompt(question) for question in questions])
    return Evaluation(asked["benchmark"], questions, prompt, config.model_dump(mode="json", exclude={"harness"}) | asked)


def check_room(config: EvaluateConfig, policy: Checkpoint, room: int) -> None:
    """Raises PlumblineError if a question leaves no room for an answer in an engine that takes `room` tokens."""
    asked, chat = prepare(config), config.prompts != "mixeval-base"
    prompts = {asked.prompt(question) for question in asked.questions}
    # a token is a byte at the least, and a template adds a few; most benchmarks are known to fit without a tokenizer
    long = [prompt for prompt in prompts if len(prompt.encode()) + _TEMPLATE >= room]
    longest = max(map(len, encode(load_tokenizer(policy.path, chat), long, chat)), default=0) if long else 0
    if longest >= room:
        raise PlumblineError(
            f"{config.benchmark}: a question of {longest} tokens leaves no room for an answer in engine.max_model_len {room}: "
            "raise it, or name a benchmark of shorter questions"
        )


def answers_folder(run: Path) -> Path:
    """Where a run keeps what models answered: beside the others in `runs/`, or inside a folder that lies by itself."""
    return (run.parent if run.parent.name == "runs" else run) / ".answers"


def evaluate(
    folder: Path,
    config: EvaluateConfig,
    policy: Checkpoint,
    engine: "Engine",
    teacher: Teacher | None = None,
    kept: Path | None = None,
    progress: Progress = quiet,
) -> Dataset:
    """Answers of `policy` to every question of the benchmark, one row a question.

    Equal model inputs are generated once; rows that repeat a question count as often as the benchmark holds them, which is
    how MixEval aggregates. `teacher` reads the answers where `config.parser` is a model parser; `kept` is the folder of answers
    known from other runs. facts: those of tasks.score.metrics, and `benchmark`, `parser`, `mean_tokens`, `stop_rate`, `reused`,
    and `teacher` as models.teacher.metered says it where one was asked.

    Raises PlumblineError if the benchmark is malformed.
    """
    asked = prepare(config)

    def make(_: Path) -> tuple[Rows, dict[str, Any]]:
        prompts = [asked.prompt(question) for question in asked.questions]
        given = answer(engine, policy, prompts, config.max_tokens, config.prompts != "mixeval-base", kept, progress)
        responses = [completion.text for completion in given.completions]
        reader, usage = metered(teacher) if teacher is not None else (None, None)
        parsed = read_answers(config.parser, asked.questions, heard(asked.questions, prompts, responses), reader, progress)
        rows = [
            row | {"prompt_ids": ids, "token_ids": made.token_ids, "stopped": made.stopped}
            for row, ids, made in zip(
                scored_rows(asked.questions, prompts, responses, parsed), given.prompt_ids, given.completions, strict=True
            )
        ]
        facts = {"benchmark": asked.name, "parser": parser_label(config.parser, teacher), "reused": given.reused}
        used = {"teacher": usage(folder)} if usage and asks_teacher(config.parser) else {}
        return rows, facts | metrics(rows) | sizes(rows) | used

    models = {"policy": policy.hash} | ({"judge": teacher.name} if teacher and asks_teacher(config.parser) else {})
    return build(folder, "answers", asked.slice, make, models=models)
