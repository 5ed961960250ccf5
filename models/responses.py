"""MixEval's response files, in and out: `<model>/<benchmark>/<version>/<model>_close_{freeform,multichoice}[_hard].jsonl`.

One JSON object a line: the benchmark's entry, its `id`, `formated_input` (upstream's spelling) and `response`. Scores and parsed
answers lie beside them in the files that upstream's `compute_metrics.py` writes.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_contracts.errors import PlumblineError
from data_contracts.json_text import lines_of, read_json
from data_contracts.store import write_text
from models.benchmark import SPLITS, Question, Split, read_question

_FILE = re.compile(r"(?P<model>.+)_close_(?P<split>freeform|multichoice)(?P<hard>_hard)?\.jsonl")
_SHORT: dict[Split, str] = {"free-form": "freeform", "multiple-choice": "multichoice"}
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
UNVERSIONED = "unversioned"


@dataclass(frozen=True)
class Responses:
    """One model's answers to one benchmark, in the order of its files. `benchmark` ends with the version where it is known."""

    model: str
    benchmark: str
    questions: tuple[Question, ...]
    prompts: tuple[str, ...]
    responses: tuple[str, ...]


def read_responses(folder: Path) -> Responses:
    """The response files in `folder` or in the one folder below it that holds any.

    Raises PlumblineError if there are none or several, naming them, or for a line that is not as the format says.
    """
    files = sorted(p for p in folder.rglob("*.jsonl") if _FILE.fullmatch(p.name)) if folder.is_dir() else []
    if not files:
        raise PlumblineError(f"{folder} holds no response files (<model>_close_freeform[_hard].jsonl): name a folder that does")
    whose = {(p.parent, named["model"], named["hard"] or "") for p in files if (named := _FILE.fullmatch(p.name))}
    if len(whose) > 1:
        there = ", ".join(sorted(str((parent / model).relative_to(folder)) + hard for parent, model, hard in whose)[:4])
        raise PlumblineError(f"{folder} holds the responses of {len(whose)} evaluations ({there}): name the folder of one")
    ((parent, model, hard),) = whose
    asked = [row for split in SPLITS for row in _read(parent / f"{model}_close_{_SHORT[split]}{hard}.jsonl", split)]
    if not asked:
        raise PlumblineError(f"the response files in {parent} hold no answer: evaluate the model again")
    questions, prompts, responses = zip(*asked, strict=True)
    return Responses(model, _benchmark(parent, bool(hard)), questions, prompts, responses)


def _benchmark(folder: Path, hard: bool) -> str:
    folder = folder.resolve()
    if folder.name == UNVERSIONED:
        return folder.parent.name
    if _DATE.fullmatch(folder.name):
        return f"{folder.parent.name.replace('_', '-')}-{folder.name}"
    return "mixeval-hard" if hard else "mixeval"


def _read(path: Path, split: Split) -> Iterable[tuple[Question, str, str]]:
    if not path.exists():
        return
    seen: set[str] = set()
    for number, line in lines_of(path):
        where = f"{path}, line {number}"
        try:
            row = read_json(line.decode("utf-8", errors="replace"))
        except ValueError:
            raise PlumblineError(f"{where} is not valid JSON: the file was cut or edited, so evaluate the model again") from None
        texts = [row.get(key) for key in ("id", "formated_input", "response")] if isinstance(row, dict) else [None]
        if not all(isinstance(text, str) for text in texts):
            raise PlumblineError(f"{where}: id, formated_input and response must be texts")
        if row["id"] in seen:
            raise PlumblineError(f"{where}: the id {row['id']!r} is answered twice: remove one line")
        seen.add(row["id"])
        yield read_question(split, row["id"], row, where), row["formated_input"], row["response"]


def response_folder(root: Path, model: str, benchmark: str) -> Path:
    """`<root>/<model>/<benchmark>/<version>`, as upstream lays them out."""
    version = _DATE.search(benchmark)
    name = benchmark[: version.start()].rstrip("-") if version else benchmark
    name = name.replace("-", "_") if name.startswith("mixeval") else name
    return root / file_name(model) / name / (version[0] if version else UNVERSIONED)


def file_name(name: str) -> str:
    """A model's or judge's name as part of a file name; upstream writes `_` for `/`."""
    return re.sub(r"[^\w.-]", "_", name).lstrip(".") or "model"


def write_responses(folder: Path, answered: Responses) -> None:
    """One file a split that has questions, in their order."""
    hard = "_hard" if "hard" in answered.benchmark else ""
    for split in SPLITS:
        rows = [
            entry(question) | {"formated_input": prompt, "id": question.id.partition("/")[2], "response": response}
            for question, prompt, response in zip(answered.questions, answered.prompts, answered.responses, strict=True)
            if question.split == split
        ]
        if rows:
            write_lines(folder / f"{file_name(answered.model)}_close_{_SHORT[split]}{hard}.jsonl", rows)


def entry(question: Question) -> dict[str, Any]:
    """The question as the benchmark's files spell it."""
    start: dict[str, Any] = {"problem_type": question.split, "context": question.context, "prompt": question.prompt}
    if question.right is not None:
        start |= {"options": list(question.options), "target": [question.right]}
    else:
        start |= {"target": list(question.target)}
    return start | {"benchmark_name": question.benchmark}


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
