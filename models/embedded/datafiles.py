"""The world's prompts and held-out questions as files: JSON lines, and MixEval's own format."""

import json
from pathlib import Path

from models.embedded.facts import MULTIPLE_CHOICE
from models.embedded.world import Task, distinct_tasks, right_answers

BENCHMARK = "embedded-1"
PROMPTS, QUESTIONS = 4000, 900


def prompt_tasks() -> list[Task]:
    return distinct_tasks("align", PROMPTS, seed=22)


def question_tasks() -> list[Task]:
    return distinct_tasks("test", QUESTIONS, seed=44)


def prompt_rows(tasks: list[Task]) -> list[dict[str, str]]:
    return [{"id": f"embedded-{i:04d}", "prompt": task.prompt} for i, task in enumerate(tasks)]


def mixeval_rows(tasks: list[Task]) -> dict[str, dict[str, dict]]:
    """The held-out questions as MixEval has them, one object for each of its two kinds."""
    rows: dict[str, dict[str, dict]] = {"free-form": {}, "multiple-choice": {}}
    for i, task in enumerate(tasks):
        kind = "multiple-choice" if task.family in MULTIPLE_CHOICE else "free-form"
        row: dict = {"problem_type": kind, "context": None, "prompt": task.prompt}
        if kind == "multiple-choice":
            row |= {"options": list(task.options), "target": [task.options.index(task.value)]}
        else:
            row |= {"target": right_answers(task)}
        rows[kind][str(i)] = row | {"benchmark_name": task.family}
    return rows


def write_data(out: Path) -> None:
    benchmark = out / "mixeval" / BENCHMARK
    benchmark.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) + "\n" for row in prompt_rows(prompt_tasks())]
    (out / "prompts.jsonl").write_text("".join(lines), encoding="utf-8")
    for kind, rows in mixeval_rows(question_tasks()).items():
        (benchmark / f"{kind}.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
