"""Benchmarks in MixEval's data format: a folder with `free-form.json` and `multiple-choice.json`.

Format and prompts: MixEval (arXiv 2406.06565), `mix_eval/data` and `mix_eval/prompts/evaluation_prompts.py`. Either file may be
absent; each is a JSON object from id to question.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from data_contracts.errors import PlumblineError
from data_contracts.store import digest

Split = Literal["free-form", "multiple-choice"]
SPLITS: tuple[Split, ...] = ("free-form", "multiple-choice")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_KEYS = {
    "free-form": {"problem_type", "context", "prompt", "target", "benchmark_name"},
    "multiple-choice": {"problem_type", "context", "prompt", "target", "benchmark_name", "options"},
}
_STEP_BY_STEP = ("BBH", "GSM8k", "MATH")  # the names as MixEval spells them


@dataclass(frozen=True)
class Question:
    """`target` holds every accepted text (free-form) or the text of the one right option (multiple-choice)."""

    id: str  # "<split>/<id in the file>"
    split: Split
    benchmark: str
    context: str | None
    prompt: str
    options: tuple[str, ...]  # empty for free-form
    target: tuple[str, ...]
    right: int | None  # index of the right option; None for free-form
    content: str  # hash of everything above but the id: rows with equal content are one question asked twice


def benchmark_name(folder: Path) -> str:
    """The folder's name and, where the folder above it is named after a release date, that date: what metrics are named after."""
    date = re.search(r"\d{4}-\d{2}-\d{2}", folder.resolve().parent.name)
    return folder.resolve().name + (f"-{date[0]}" if date else "")


def load_benchmark(folder: Path) -> tuple[Question, ...]:
    """Every question of both splits, in the order of the files.

    Raises PlumblineError naming the file and the id of anything that is not as the format says.
    """
    files = [(split, folder / f"{split}.json") for split in SPLITS]
    found = [(split, path) for split, path in files if path.is_file()]
    if not found:
        raise PlumblineError(
            f"{folder} holds neither free-form.json nor multiple-choice.json: name a folder in MixEval's data format"
        )
    questions = [question for split, path in found for question in _load_split(split, path)]
    if not questions:
        raise PlumblineError(f"the benchmark in {folder} holds no questions: add some to {found[0][1].name}")
    return tuple(questions)


def _load_split(split: Split, path: Path) -> list[Question]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique_keys)
    except ValueError as error:
        raise PlumblineError(f"{path} is not valid JSON ({error}): correct the file") from None
    if not isinstance(entries, dict):
        raise PlumblineError(f"{path} must hold a JSON object from id to question, not a {type(entries).__name__}")
    return [_question(split, id_, entry, f"{path}, id {id_!r}") for id_, entry in entries.items()]


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} is given twice")
    return found


def _question(split: Split, id_: str, entry: Any, where: str) -> Question:
    if not isinstance(entry, dict) or not _KEYS[split] <= entry.keys():
        missing = ", ".join(sorted(_KEYS[split] - entry.keys())) if isinstance(entry, dict) else "every key"
        raise PlumblineError(f"{where}: a {split} question must have {missing}")
    if entry["problem_type"] != split:
        raise PlumblineError(f"{where}: problem_type is {entry['problem_type']!r}, must be {split!r} in this file")
    context, prompt, name, target = entry["context"], entry["prompt"], entry["benchmark_name"], entry["target"]
    if not (isinstance(prompt, str) and prompt.strip() and isinstance(name, str) and name and isinstance(context, str | None)):
        raise PlumblineError(f"{where}: prompt and benchmark_name must be texts that are not empty, context a text or null")
    options: tuple[str, ...] = ()
    right: int | None = None
    if split == "multiple-choice":
        options = _texts(entry["options"], f"{where}: options")
        right = _index(target, len(options), where)
        target = [options[right]]
        if not 2 <= len(options) <= len(LETTERS):
            raise PlumblineError(f"{where}: options must be between 2 and {len(LETTERS)} texts, they are {len(options)}")
    accepted = _texts(target, f"{where}: target")
    content = digest([split, name, context, prompt, options, entry["target"]])
    return Question(f"{split}/{id_}", split, name, context, prompt, options, accepted, right, content)


def _texts(value: Any, what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(text, str) and text.strip() for text in value):
        raise PlumblineError(f"{what} must be a list of texts that are not empty, it is {str(value)[:80]!r}")
    return tuple(value)


def _index(target: Any, n: int, where: str) -> int:
    if not (isinstance(target, list) and len(target) == 1 and type(target[0]) is int and 0 <= target[0] < n):
        raise PlumblineError(f"{where}: target must be a list of one option index from 0 to {n - 1}, it is {str(target)[:80]!r}")
    return int(target[0])


def mixeval_prompt(question: Question) -> str:
    """The model input that MixEval builds for chat models, zero-shot."""
    has_context = question.context is not None and question.context.strip().lower() not in ("", "none", "null")
    context = f"{question.context}\n" if has_context else ""
    if question.split == "multiple-choice":
        options = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, question.options, strict=False))
        return f"{context}{question.prompt}\n{options}\nAnswer with the option letter from the given choices directly."
    if question.benchmark in _STEP_BY_STEP:
        how = "Answer the question. \nLet's think step by step."  # the blank before the line break is MixEval's
    else:
        how = "Answer the question shortly."
    return f"Question: {context}{question.prompt}\n{how}"


def plain_prompt(question: Question) -> str:
    """The question as it stands: its options, if any, are part of its text."""
    return question.prompt


PROMPTS = {"mixeval": mixeval_prompt, "plain": plain_prompt}
