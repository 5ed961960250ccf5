"""A provider's batch in place of a server: requests out as JSON lines, results in as JSON lines, at half the price of asking.

Formats: OpenAI's batch input (`custom_id`, `method`, `url`, `body`) and output (`custom_id`, `response`, `error`), which other
providers and `vllm run-batch` share; and plumbline's own export of a journal.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_contracts.config_teacher import BatchTeacher
from data_contracts.errors import PlumblineError
from data_contracts.json_text import SURROGATE, lines_of, read_json
from data_contracts.store import digest, write_text
from models.engine import Progress
from models.journal import Journal, Reply, Request
from models.teacher import Keep, Teacher, server_teacher
from models.teachers.http import chat_body, own_fault, reply_in
from models.teachers.weigh import CHAT

LARGEST = 50_000, 190_000_000  # requests and bytes of one file: what providers accept


def batch_teacher(config: BatchTeacher, journal: Journal, run: Path) -> Teacher:
    """Answers from the journal; what it lacks goes to files in `run/batch`, and the run stops with what to do next."""

    def ask(missing: list[Request], keep: Keep, _: Progress) -> None:
        journal.want(missing)
        files = write_requests(missing, run / "batch")
        shared = journal.shared([request.key for request in missing])
        others = f" ({shared} of them for other runs, too: plumbline teacher export-batch {journal.path} writes each once)"
        raise PlumblineError(
            f"{len(missing)} requests wait for a batch in {' '.join(map(str, files))}{others if shared else ''}: "
            f"hand that to the provider, then plumbline teacher import {run} RESULTS, then plumbline resume {run}"
        )

    return server_teacher(config.model, journal, ask, CHAT)


def write_requests(requests: Iterable[Request], folder: Path) -> list[Path]:
    """The provider's batch files, named after what is in them, whatever its order."""
    lines = {
        r.key: json.dumps({"custom_id": r.key, "method": "POST", "url": "/v1/chat/completions", "body": chat_body(r)})
        for r in requests
    }
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for part in _parts(lines[key] for key in sorted(lines)):
        path = folder / f"requests-{digest(part)}.jsonl"
        write_text(path, "".join(part))
        files.append(path)
    return files


def _parts(lines: Iterable[str]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for line in lines:
        if part and (len(part) == LARGEST[0] or size + len(line) + 1 > LARGEST[1]):
            yield part
            part, size = [], 0
        part.append(line + "\n")
        size += len(line) + 1
    if part:
        yield part


def read_results(path: Path, journal: Journal) -> dict[str, int]:
    """Put what `path` holds into the journal: a provider's results or another journal's export. Counts by what became of a line:

    `added`, `known` (the journal had it), `unknown` (nobody waits for it), `failed: …` (the provider's reason), `unreadable`.
    Every line is a stranger's: one that is not as it should be is counted, and nothing of it is kept.
    Raises PlumblineError if the file cannot be read.
    """
    wanted, counts = journal.wanted(), Counter[str]()
    results: list[tuple[Request, Reply]] = []
    exported: list[tuple[Request, Reply]] = []
    for _, line in lines_of(path):
        row = _parse(line.decode("utf-8-sig", errors="replace"))
        is_result = "custom_id" in row
        said = _result(row, wanted) if is_result else _exported(row)
        if isinstance(said, str):
            counts[said] += 1
        else:
            (results if is_result else exported).append(said)
    added = journal.store(results) + journal.store(exported, elsewhere=True)
    return {"added": added, "known": len(results) + len(exported) - added, **dict(sorted(counts.items()))}


def _parse(line: str) -> dict[str, Any]:
    """The object in a line, empty for anything else."""
    try:
        row = read_json(line)
    except ValueError:
        return {}
    if not isinstance(row, dict):
        return {}
    # an export is known by its digest, and what no text can hold has none
    return {} if "custom_id" not in row and SURROGATE.search(json.dumps(row, ensure_ascii=False)) else row


def _result(row: dict[str, Any], wanted: Mapping[str, Request]) -> tuple[Request, Reply] | str:
    request = wanted.get(row["custom_id"]) if isinstance(row["custom_id"], str) else None
    if request is None:
        return "unknown"
    response = row.get("response")
    response = response if isinstance(response, dict) else {}
    status, body = response.get("status_code", 200), response.get("body")
    error = row.get("error") or (body.get("error") if isinstance(body, dict) else None)
    if error or status != 200:
        code = error.get("code") or error.get("type") if isinstance(error, dict) else None
        if reply := own_fault(f"{code} {error.get('message') if isinstance(error, dict) else error}"):
            return request, reply
        return f"failed: {_word(code or f'HTTP {status}')}"
    reply = reply_in(body)
    return (request, reply) if reply is not None else "unreadable"


_TYPES: dict[str, Callable[[Any], bool]] = {
    "model": lambda v: isinstance(v, str),
    "messages": lambda v: isinstance(v, list) and all(_is_message(m) for m in v),
    "sampling": lambda v: isinstance(v, dict),
    "seed": lambda v: isinstance(v, int),
    "index": lambda v: isinstance(v, int),
}


def _exported(row: dict[str, Any]) -> tuple[Request, Reply] | str:
    """A call as `plumbline teacher export` wrote it; its key must be the digest of its request."""
    content, text, reason = row.get("request"), row.get("reply"), row.get("finish_reason")
    if not isinstance(content, dict) or content.keys() != _TYPES.keys():
        return "unreadable"
    if not isinstance(text, str) or not isinstance(reason, str):
        return "unreadable"
    if not all(fits(content[name]) for name, fits in _TYPES.items()) or digest(content) != row.get("key"):
        return "unreadable"
    reply = reply_in(
        {
            "choices": [{"message": {"content": text}, "finish_reason": reason}],
            "usage": {"prompt_tokens": row.get("input_tokens"), "completion_tokens": row.get("output_tokens")},
        }
    )
    cost = row.get("cost")
    known = isinstance(cost, float) and 0 <= cost < float("inf")
    return "unreadable" if reply is None else (Request(**content), replace(reply, cost=cost if known else None))


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"role", "content"} and all(isinstance(v, str) for v in value.values())


def _word(text: Any) -> str:
    """A provider's error code as a word of ours: short, and without anything that a terminal could take for an order."""
    return "".join(c if c.isalnum() or c in "_- " else "?" for c in str(text))[:40]
