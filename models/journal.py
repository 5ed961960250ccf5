"""The journal of teacher calls: every request and its raw reply in one SQLite file, written before anything is parsed.

A call is paid for once (design, decision 7): whoever asks the same again, after a crash, with another parser or in another run,
reads it here. Requests hold the model's name, the messages and the sampling settings; addresses and keys never come near it.
"""

import json
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_contracts.config_teacher import Price
from data_contracts.errors import PlumblineError
from data_contracts.store import digest
from models.chat import Message

_VERSION = 1  # of the file: 0 had no second table and no columns after `created`
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, request TEXT NOT NULL, reply TEXT NOT NULL,
    finish_reason TEXT NOT NULL, created TEXT NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS waiting (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, request TEXT NOT NULL, payer TEXT NOT NULL,
    created TEXT NOT NULL) WITHOUT ROWID""",
)
_ADDED = {"input_tokens": "INTEGER", "output_tokens": "INTEGER", "cost": "REAL", "payer": "TEXT"}  # columns since version 1
_COLUMNS = "key, model, request, reply, finish_reason, created, input_tokens, output_tokens, cost, payer"


@dataclass(frozen=True)
class Reply:
    """What a teacher wrote, untouched. `finish_reason` is the server's own: "stop", "length", "content_filter", …

    The rest is about the call, not the reply: tokens as the server counted them (None: it did not say), their price in money
    (None: no price was given), and whether this run paid for it, as against one before or beside it.
    """

    text: str
    finish_reason: str
    input_tokens: int | None = field(default=None, compare=False)
    output_tokens: int | None = field(default=None, compare=False)
    cost: float | None = field(default=None, compare=False)
    paid: bool = field(default=False, compare=False)


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

    @property
    def server_seed(self) -> int:
        """Decided by the request alone, so that it is the same whatever is asked beside it. 31 bits: servers take signed ints."""
        return int(self.key, 16) % 2**31


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
    """Safe to use from several threads; several processes may have one file open.

    `payer` is the run that pays for new calls, `price` what it pays. Raises PlumblineError if the file is no
    journal, cannot be opened, or was made by a newer version.
    """

    def __init__(self, path: Path, payer: str = "", price: Price | None = None) -> None:
        self.path, self.payer, self.price, self._lock = path, payer, price, threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
            # write-ahead log: readers never wait; FULL: what `store` returned from survives even a power cut
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._upgrade()
        except (sqlite3.Error, OSError) as error:
            raise PlumblineError(f"the journal {path} cannot be used ({error}): name another file in teacher.journal") from None

    def lookup(self, keys: Sequence[str]) -> dict[str, Reply]:
        """The replies there are, by key."""
        found: dict[str, Reply] = {}
        for i in range(0, len(keys), 500):
            some = keys[i : i + 500]
            query = f"SELECT {_COLUMNS} FROM calls WHERE key IN ({','.join('?' * len(some))})"
            with self._lock:
                rows = self._connection.execute(query, some).fetchall()
            for key, _, _, text, reason, _, read, written, cost, payer in rows:
                mine = payer == self.payer
                cost = self._cost(read, written) if mine and cost is None else cost  # imported before it had a price
                found[key] = Reply(text, reason, read, written, cost, mine)
        return found

    def store(self, calls: Iterable[tuple[Request, Reply]], elsewhere: bool = False) -> int:
        """How many were new; returns when they are on disk. A key that is there keeps its first reply.

        `elsewhere`: they were paid for outside this journal, at the cost that the replies name.
        """
        now, rows = _now(), []
        for request, r in calls:
            content = json.dumps(request.content, ensure_ascii=False)
            cost = r.cost if elsewhere else self._cost(r.input_tokens, r.output_tokens)
            counts = (r.input_tokens, r.output_tokens, cost, "" if elsewhere else self.payer)
            rows.append((request.key, request.model, content, r.text, r.finish_reason, now, *counts))
        with self._lock, self._connection:
            before = self._connection.total_changes
            self._connection.executemany(f"INSERT OR IGNORE INTO calls ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            added = self._connection.total_changes - before
            self._connection.executemany("DELETE FROM waiting WHERE key = ?", [row[:1] for row in rows])
        return added

    def want(self, requests: Iterable[Request]) -> None:
        """Remember requests that this run could not ask, for a batch."""
        now = _now()
        rows = [(r.key, r.model, json.dumps(r.content, ensure_ascii=False), self.payer, now) for r in requests]
        with self._lock, self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO waiting VALUES (?, ?, ?, ?, ?)", rows)

    def wanted(self, payer: str | None = None) -> dict[str, Request]:
        """By key, what waits for a batch: of all runs, or of one."""
        query = "SELECT key, request FROM waiting WHERE key NOT IN (SELECT key FROM calls)"
        with self._lock:
            rows = self._connection.execute(
                query + (" AND payer = ?" if payer is not None else "") + " ORDER BY key", () if payer is None else (payer,)
            ).fetchall()
        return {key: Request(**json.loads(content)) for key, content in rows}

    def spent(self) -> tuple[int, float]:
        """Tokens and money that this run has paid for so far."""
        query = "SELECT sum(ifnull(input_tokens, 0) + ifnull(output_tokens, 0)), sum(cost) FROM calls WHERE payer = ?"
        with self._lock:
            tokens, money = self._connection.execute(query, (self.payer,)).fetchone()
        return int(tokens or 0), float(money or 0.0)

    def calls(self) -> Iterator[dict[str, Any]]:
        """Every call as plain values, oldest key first; the request as the mapping that its key is the digest of."""
        with self._lock:
            keys = [key for (key,) in self._connection.execute("SELECT key FROM calls ORDER BY created, key")]
        for key in keys:
            with self._lock:
                row = self._connection.execute(f"SELECT {_COLUMNS} FROM calls WHERE key = ?", (key,)).fetchone()
            call = dict(zip(_COLUMNS.split(", "), row, strict=True))
            del call["model"], call["payer"]
            yield call | {"request": json.loads(call["request"])}

    def count(self) -> int:
        with self._lock:
            return int(self._connection.execute("SELECT count(*) FROM calls").fetchone()[0])

    def summary(self) -> list[tuple[str, str, int, int | None, int | None, float | None]]:
        """(model, finish reason, calls, input tokens, output tokens, cost); what waits has the reason "waiting"."""
        query = """SELECT model, finish_reason, count(*), sum(input_tokens), sum(output_tokens), sum(cost) FROM calls
            GROUP BY model, finish_reason UNION ALL
            SELECT model, 'waiting', count(*), NULL, NULL, NULL FROM waiting
            WHERE key NOT IN (SELECT key FROM calls) GROUP BY model ORDER BY 1, 2"""
        with self._lock:
            return self._connection.execute(query).fetchall()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _upgrade(self) -> None:
        """Bring a file of an older version up to this one; whoever opens it at the same time waits."""
        if self._version() == _VERSION:
            return
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            if self._version() > _VERSION:
                raise PlumblineError(
                    f"the journal {self.path} was made by a newer plumbline: update plumbline, or use another file"
                )
            for statement in _SCHEMA:
                self._connection.execute(statement)
            there = {row[1] for row in self._connection.execute("PRAGMA table_info(calls)")}
            for name, kind in _ADDED.items():
                if name not in there:
                    self._connection.execute(f"ALTER TABLE calls ADD COLUMN {name} {kind}")
            self._connection.execute(f"PRAGMA user_version = {_VERSION}")

    def _cost(self, read: int | None, written: int | None) -> float | None:
        return None if self.price is None or read is None or written is None else self.price.of(read, written)

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def find_journal(run: Path) -> tuple[Path, str]:
    """Where the teacher calls of the run in the folder `run` are, and the name that it pays under ("": it has not asked yet)."""
    note = run / "teacher.json"
    said = json.loads(note.read_text()) if note.exists() else {"journal": "journal.db", "run": ""}
    return Path(os.path.normpath(run / said["journal"])), said["run"]


def sample_calls(run: Path, after: str, until: str, limit: int) -> list[dict[str, Any]]:
    """At most `limit` calls that the run paid for after the time `after` and not later than `until`: by key, so at random.

    Times are the journal's own, ISO 8601 in UTC. Opened for reading only; a missing journal holds nothing.
    """
    path, payer = find_journal(run)
    if not path.exists():
        return []
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=60)
    connection.row_factory = sqlite3.Row
    there = {row["name"] for row in connection.execute("PRAGMA table_info(calls)")}
    own = "payer = ?" if "payer" in there else "? = ''"  # a file from before payers were known is the run's own
    query = f"SELECT * FROM calls WHERE created > ? AND created <= ? AND {own} ORDER BY key LIMIT ?"
    rows = [dict(row) for row in connection.execute(query, (after, until, payer, limit))]
    connection.close()
    return rows
