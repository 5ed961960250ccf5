"""Response files -> scores, a comparison of models, and MixEval's own result files."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from data_contracts.errors import PlumblineError
from data_contracts.store import Rows, write_text
from models.benchmark import LETTERS, SPLITS, Question, benchmark_name, load_benchmark
from models.benchmark_hub import open_benchmark
from models.benchmark_prompts import heard
from models.engine import Progress, quiet
from models.parsers import Parsed, asks_teacher, parser_label, read_answers
from models.responses import Responses, entry, file_name, write_lines
from models.statistics import holm, paired_test, selection_bias
from models.teacher import Teacher
from tasks.score import metrics, scored_rows


@dataclass(frozen=True)
class Scored:
    """`facts` are those of tasks.score.metrics."""

    answered: Responses
    parser: str  # with the judge's name where a model read the answers
    judge: str | None
    parsed: list[Parsed]
    rows: Rows
    facts: dict[str, Any]


def check_benchmark(answered: Responses, reference: str) -> Responses:
    """The same responses under the benchmark's own name.

    Raises PlumblineError if they do not answer exactly its questions.
    """
    folder = open_benchmark(reference)
    wanted = {question.id: question.content for question in load_benchmark(folder)}
    given = {question.id: question.content for question in answered.questions}
    if wrong := sorted(id_ for id_, content in given.items() if wanted.get(id_) != content):
        raise PlumblineError(
            f"{answered.model} answers a question that is not in {folder} ({wrong[0]}): name the right benchmark"
        )
    if missing := sorted(wanted.keys() - given.keys()):
        raise PlumblineError(
            f"{answered.model} answers {len(given)} of the {len(wanted)} questions in {folder} ({missing[0]} is missing): "
            "finish the evaluation first"
        )
    return replace(answered, benchmark=benchmark_name(folder))


def score_responses(answered: Responses, parser: str, teacher: Teacher | None = None, progress: Progress = quiet) -> Scored:
    """Read every response with `parser`; equal questions with equal answers are asked about once."""
    said = heard(answered.questions, answered.prompts, answered.responses)
    parsed = read_answers(parser, answered.questions, said, teacher, progress)
    rows = scored_rows(answered.questions, answered.prompts, answered.responses, parsed)
    judge = teacher.name if teacher is not None and asks_teacher(parser) else None
    return Scored(answered, parser_label(parser, teacher), judge, parsed, rows, metrics(rows))


def comparison(scored: Sequence[Scored]) -> dict[str, Any]:
    """The first model against each other one: `gains`, by paired test, the p-values adjusted for how many there are
    (models.statistics.holm); and `selection`, if it is the best of three or more.

    Raises PlumblineError if they do not answer the same questions.
    """
    first, *others = scored
    tests = [paired_test(first.rows, other.rows) for other in others]
    adjusted = holm([test.p for test in tests])
    gains = [
        {"against": other.answered.model} | asdict(test) | {"p": p}
        for other, test, p in zip(others, tests, adjusted, strict=True)
    ]
    means = [one.facts["metrics"]["overall"]["mean"] for one in scored]
    picked = len(scored) > 2 and means[0] == max(means)
    selection = {"models": len(scored), "bias": selection_bias([one.rows for one in scored])} if picked else None
    return {"gains": gains, "selection": selection}


def unparsed(scored: Scored) -> list[dict[str, str]]:
    """Every answer that could not be read, with what the judge said of it where one was asked."""
    return [
        {"question": row["question_id"], "benchmark": row["benchmark"], "response": row["response"], "raw": read.raw or ""}
        for row, read in zip(scored.rows, scored.parsed, strict=True)
        if read.value is None
    ]


def write_scores(folder: Path, scored: Scored) -> None:
    """`score.json` and `judge_results_{ff,mp}_….jsonl`, named and filled as upstream's; an unread choice has no letter there."""
    who = "rule" if scored.judge is None else f"model_judge_{file_name(scored.judge)}"
    for split, short in zip(SPLITS, ("ff", "mp"), strict=True):
        rows = [
            entry(question)
            | {"formated_input": row["prompt"], "id": question.id.partition("/")[2], "response": row["response"]}
            | (_ruled(question, read) if scored.judge is None else _judged(question, read))
            for question, row, read in zip(scored.answered.questions, scored.rows, scored.parsed, strict=True)
            if question.split == split
        ]
        if rows:
            write_lines(folder / f"judge_results_{short}_{who}.jsonl", rows)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "score.json", json.dumps(scored.facts["official"], indent=4) + "\n")


def _ruled(question: Question, read: Parsed) -> dict[str, Any]:
    said = [] if read.value is None else [read.value]
    return {"parsed_result": said if question.right is None else _letter(question, read), "eval_result": read.score == 1}


def _judged(question: Question, read: Parsed) -> dict[str, Any]:
    verdict = {"judge_score": read.score} if question.right is None else {"judge_option": _letter(question, read)}
    return {"judge_response": read.raw} | verdict


def _letter(question: Question, read: Parsed) -> str:
    """The option read or guessed; empty where neither was done."""
    if read.value is not None:
        return LETTERS[question.options.index(read.value)]
    guessed = (read.raw or "").strip("[]")
    return guessed if len(guessed) == 1 else ""
