"""Benchmarks in MixEval's data format (arXiv 2406.06565): a folder with `free-form.json` and `multiple-choice.json`.

Either file may be absent; each is a JSON object from id to question. The hub's copies hold the same rows as Parquet or JSON lines
(`free_form-00000-of-00001.parquet`), which are read as well; models/benchmark_hub.py fetches them.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from data_contracts.errors import PlumblineError, in_short
from data_contracts.json_text import SURROGATE, read_json
from data_contracts.store import digest

Split = Literal["free-form", "multiple-choice"]
SPLITS: tuple[Split, ...] = ("free-form", "multiple-choice")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_KEYS = {
    "free-form": {"problem_type", "context", "prompt", "target", "benchmark_name"},
    "multiple-choice": {"problem_type", "context", "prompt", "target", "benchmark_name", "options"},
}
_FILES = ("{}.json", "{}.jsonl", "{}.parquet", "{}-*.parquet")  # how a split's file is called, with - or _ between its words


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
    """What metrics are named after: the folder's name and its version, `mixeval-hard-2024-06-01`.

    The version is the release date in the name of the folder or of the one above it, else, for a copy from the hub, the
    beginning of its commit; a folder with neither has only its name.
    """
    folder = folder.resolve()
    name = folder.name.lower().replace("_", "-") if folder.name.lower().startswith("mixeval") else folder.name
    date = re.search(r"\d{4}-\d{2}-\d{2}", folder.parent.name)
    commit = re.search(r"/snapshots/([0-9a-f]{8})[0-9a-f]{32}(?:/|$)", folder.as_posix())
    version = date[0] if date else commit[1] if commit else ""
    return f"{name}-{version}" if version and version not in name else name


def split_files(folder: Path) -> dict[Split, list[Path]]:
    """The files of each split that the folder holds."""
    names = {split: (split, split.replace("-", "_")) for split in SPLITS}
    found = {
        split: sorted({p for name in both for pattern in _FILES for p in folder.glob(pattern.format(name)) if p.is_file()})
        for split, both in names.items()
    }
    return {split: paths for split, paths in found.items() if paths}


def load_benchmark(folder: Path) -> tuple[Question, ...]:
    """Every question of both splits, in the order of the files.

    Raises PlumblineError naming the file and the id of anything that is not as the format says.
    """
    found = split_files(folder)
    if not found:
        raise PlumblineError(
            f"{folder} holds neither free-form.json nor multiple-choice.json: name a folder in MixEval's data format"
        )
    for split, paths in found.items():
        if paths[0].suffix != ".parquet" and len(paths) > 1:
            raise PlumblineError(f"{folder} holds two files with {split} questions ({paths[0].name}, {paths[1].name}): keep one")
    questions = [question for split, paths in found.items() for question in _load_split(split, paths)]
    ids = Counter(question.id for question in questions)
    if ids and (twice := ids.most_common(1)[0])[1] > 1:
        raise PlumblineError(f"the benchmark in {folder} asks {twice[0]} {twice[1]} times: give each question an id of its own")
    if not questions:
        raise PlumblineError(f"the benchmark in {folder} holds no questions: add some to {next(iter(found.values()))[0].name}")
    return tuple(questions)


def _load_split(split: Split, paths: list[Path]) -> list[Question]:
    if paths[0].suffix == ".json":
        try:
            entries = read_json(paths[0].read_text(encoding="utf-8"), object_pairs_hook=_unique_keys)
        except ValueError as error:
            raise PlumblineError(f"{paths[0]} is not valid JSON ({error}): correct the file") from None
        if not isinstance(entries, dict):
            raise PlumblineError(f"{paths[0]} must hold a JSON object from id to question, not a {type(entries).__name__}")
        return [read_question(split, id_, entry, f"{paths[0]}, id {id_!r}") for id_, entry in entries.items()]
    rows = [row for path in paths for row in _rows(path)]
    return [read_question(split, str(row.get("id", i)), _plain(row), f"{paths[0]}, row {i}") for i, row in enumerate(rows)]


def _rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.json
    import pyarrow.parquet

    try:
        rows = pa.parquet.read_table(path) if path.suffix == ".parquet" else pa.json.read_json(path)
    except (pa.ArrowException, OSError) as error:
        raise PlumblineError(f"{path} cannot be read ({in_short(error)}): fetch the file again") from None
    found: list[dict[str, Any]] = rows.to_pylist()
    return found


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A table's columns have one type each, so copies of the benchmark spell an option's index as text."""
    row = row | {"problem_type": {"free_form": "free-form"}.get(str(row.get("problem_type")), row.get("problem_type"))}
    if row["problem_type"] in ("multiple_choice", "single-choice", "multiple-choice"):
        target = row.get("target")
        row["problem_type"] = "multiple-choice"
        row["target"] = [int(t) if str(t).isdecimal() else t for t in target] if isinstance(target, list) else target
    return row


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} is given twice")
    return found


def read_question(split: Split, id_: str, entry: Any, where: str) -> Question:
    """The question in an entry of a benchmark or response file. Raises PlumblineError that begins with `where`."""
    if not isinstance(entry, dict) or not _KEYS[split] <= entry.keys():
        missing = ", ".join(sorted(_KEYS[split] - entry.keys())) if isinstance(entry, dict) else "every key"
        raise PlumblineError(f"{where}: a {split} question must have {missing}")
    if entry["problem_type"] != split:
        raise PlumblineError(f"{where}: problem_type is {entry['problem_type']!r}, must be {split!r} in this file")
    context, prompt, name, target = entry["context"], entry["prompt"], entry["benchmark_name"], entry["target"]
    if not (isinstance(prompt, str) and prompt.strip() and isinstance(name, str) and name and isinstance(context, str | None)):
        raise PlumblineError(f"{where}: prompt and benchmark_name must be non-empty texts, context a text or null")
    options: tuple[str, ...] = ()
    right: int | None = None
    if split == "multiple-choice":
        options = _texts(entry["options"], f"{where}: options", blank=True)
        right = _index(target, len(options), where)
        target = [options[right]]
        if not 2 <= len(options) <= len(LETTERS):
            raise PlumblineError(f"{where}: options must be between 2 and {len(LETTERS)} texts, they are {len(options)}")
    accepted = _texts(target, f"{where}: target", blank=split == "multiple-choice")
    said = [split, name, context, prompt, options, entry["target"]]
    if SURROGATE.search(json.dumps(said, ensure_ascii=False)):
        raise PlumblineError(f"{where}: a text contains half a surrogate pair, which is not valid: correct it")
    content = digest(said)
    return Question(f"{split}/{id_}", split, name, context, prompt, options, accepted, right, content)


def _texts(value: Any, what: str, blank: bool = False) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(text, str) and (blank or text.strip()) for text in value):
        raise PlumblineError(f"{what} must be a list of non-empty texts, it is {str(value)[:80]!r}")
    return tuple(value)


def _index(target: Any, n: int, where: str) -> int:
    if not (isinstance(target, list) and len(target) == 1 and type(target[0]) is int and 0 <= target[0] < n):
        raise PlumblineError(f"{where}: target must be a list of one option index from 0 to {n - 1}, it is {str(target)[:80]!r}")
    return int(target[0])
