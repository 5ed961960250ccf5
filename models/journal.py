"""The journal of teacher calls: every request and its raw reply in one SQLite file, written before anything is parsed.

A call is paid for once (design, decision 7): whoever asks the same again, after a crash or with another parser, reads it here.
Requests hold the model's name, the messages and the sampling settings; addresses and keys never come near this file.
"""

import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_contracts.store import digest
from models.chat import Message

_SCHEMA = """CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, request TEXT NOT NULL, reply TEXT NOT NULL,
    finish_reason TEXT NOT NULL, created TEXT NOT NULL) WITHOUT ROWID"""


@dataclass(frozen=True)
class Reply:
    """What a teacher wrote, untouched. `finish_reason` is the server's own: "stop", "length", "content_filter", …"""

    text: str
    finish_reason: str


@dataclass(frozen=True)
class Request:
    model: str
    messages: Sequence[Message]
    sampling: dict[str, Any]
    seed: int
    index: int  # 0, 1, … for the same messages asked more than once in one call

    @property
    def content(self) -> dict[str, Any]:
        messages = [{"role": m["role"], "content": m["content"]} for m in self.messages]
        return {"model": self.model, "messages": messages, "sampling": self.sampling, "seed": self.seed, "index": self.index}

    @property
    def key(self) -> str:
        return digest(self.content)


def requests_of(model: str, conversations: Sequence[Sequence[Message]], sampling: dict[str, Any], seed: int) -> list[Request]:
    """One request a conversation. The index counts repetitions, not positions: a row less changes no other row's key."""
    seen: Counter[str] = Counter()
    requests = []
    for messages in conversations:
        same = digest(list(messages))
        requests.append(Request(model, messages, sampling, seed, seen[same]))
        seen[same] += 1
    return requests


class Journal:
    """Safe to use from several threads; several processes may have one file open."""

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
        # write-ahead log: readers never wait; FULL: what `store` returned from survives even a power cut
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute(_SCHEMA)

    def lookup(self, keys: Sequence[str]) -> dict[str, Reply]:
        """The replies there are, by key."""
        found: dict[str, Reply] = {}
        for i in range(0, len(keys), 500):
            some = keys[i : i + 500]
            query = f"SELECT key, reply, finish_reason FROM calls WHERE key IN ({','.join('?' * len(some))})"
            with self._lock:
                found |= {key: Reply(text, reason) for key, text, reason in self._connection.execute(query, some)}
        return found

    def store(self, calls: Iterable[tuple[Request, Reply]]) -> None:
        """Returns when the replies are on disk. A key that is there keeps its first reply."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        rows = [(c.key, c.model, json.dumps(c.content, ensure_ascii=False), r.text, r.finish_reason, now) for c, r in calls]
        with self._lock, self._connection:
            self._connection.executemany("INSERT OR IGNORE INTO calls VALUES (?, ?, ?, ?, ?, ?)", rows)

    def count(self) -> int:
        with self._lock:
            return int(self._connection.execute("SELECT count(*) FROM calls").fetchone()[0])

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def sample_calls(path: Path, after: str, until: str, limit: int) -> list[dict[str, Any]]:
    """At most `limit` calls answered after the time `after` and not later than `until`, a row each: by key, so at random.

    Times are the journal's own, ISO 8601 in UTC. Opened for reading only; a missing journal holds nothing.
    """
    if not path.exists():
        return []
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=60)
    connection.row_factory = sqlite3.Row
    query = "SELECT * FROM calls WHERE created > ? AND created <= ? ORDER BY key LIMIT ?"
    rows = [dict(row) for row in connection.execute(query, (after, until, limit))]
    connection.close()
    return rows
