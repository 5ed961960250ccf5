"""The journal of teacher calls: every request and its raw reply in one SQLite file, written before anything is parsed.

A call is paid for once (design, decision 7): whoever asks the same again, after a crash, with another parser or in another run,
reads it here, and whoever would ask it at the same moment waits for the one that claimed it. Requests hold the model's name, the
messages and the sampling settings; addresses and keys never come near it.
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

from data_contracts.clock import now
from data_contracts.config_teacher import Price
from data_contracts.store import digest, load_json
from models.chat import Message
from models.journal_file import open_file

LEASE = 20.0  # seconds: a claim that its owner has not renewed for so long is anybody's
_AT_ONCE = 500  # keys in one statement
_COLUMNS = "key, model, request, reply, finish_reason, created, input_tokens, output_tokens, cost, payer"


@dataclass(frozen=True)
class Reply:
    """What a teacher wrote, untouched. `finish_reason` is the server's own: "stop", "length", "content_filter", …

    The rest is about the call, not the reply: tokens as the server counted them (None: it did not say), their price in money
    (None: no price was given), and the call's key in the journal.
    """

    text: str
    finish_reason: str
    input_tokens: int | None = field(default=None, compare=False)
    output_tokens: int | None = field(default=None, compare=False)
    cost: float | None = field(default=None, compare=False)
    key: str = field(default="", compare=False)


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

    `payer` is the run that pays for new calls, `price` what it pays, `run` its folder. Raises PlumblineError if the file is no
    journal, cannot be opened, or was made by a newer version.
    """

    def __init__(self, path: Path, payer: str = "", price: Price | None = None, run: Path | None = None) -> None:
        self.path, self.payer, self.price, self._lock = path, payer, price, threading.Lock()
        self._run = run or path.parent
        self._connection = open_file(path)

    def lookup(self, keys: Sequence[str]) -> dict[str, Reply]:
        """The replies there are, by key."""
        found: dict[str, Reply] = {}
        for some in _parts(keys):
            with self._lock:
                rows = self._connection.execute(f"SELECT {_COLUMNS} FROM calls WHERE key IN {_marks(some)}", some).fetchall()
            for key, _, _, text, reason, _, read, written, cost, payer in rows:
                unpriced = payer == self.payer and cost is None  # imported before it had a price
                found[key] = Reply(text, reason, read, written, self._cost(read, written) if unpriced else cost, key)
        return found

    def store(self, calls: Iterable[tuple[Request, Reply]], elsewhere: bool = False) -> int:
        """How many were new; returns when they are on disk. A key that is there keeps its first reply.

        `elsewhere`: they were paid for outside this journal, at the cost that the replies name.
        """
        created, rows = now(), []
        for request, r in calls:
            content = json.dumps(request.content, ensure_ascii=False)
            cost = r.cost if elsewhere else self._cost(r.input_tokens, r.output_tokens)
            counts = (r.input_tokens, r.output_tokens, cost, "" if elsewhere else self.payer)
            rows.append((request.key, request.model, content, r.text, r.finish_reason, created, *counts))
        with self._lock, self._connection:
            before = self._connection.total_changes
            self._connection.executemany(f"INSERT OR IGNORE INTO calls ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            added = self._connection.total_changes - before
            self._connection.executemany("DELETE FROM waiting WHERE key = ?", [row[:1] for row in rows])
        return added

    def bill(self, keys: Sequence[str], stage: Path) -> set[str]:
        """Those of `keys` that this run has paid for and that its stage in the folder `stage` answers for.

        A call is on the bill of one stage for good: the first that was done and had asked for it. Whatever shares it afterwards
        has it from the journal.
        """
        name, mine = Path(os.path.relpath(stage, self._run)).as_posix(), set[str]()
        with self._lock, self._connection:
            for some in _parts(keys):
                own = f"WHERE payer = ? AND key IN {_marks(some)} AND"
                self._connection.execute(f"UPDATE calls SET stage = ? {own} stage IS NULL", (name, self.payer, *some))
                found = self._connection.execute(f"SELECT key FROM calls {own} stage = ?", (self.payer, *some, name))
                mine |= {key for (key,) in found}
        return mine

    def claim(self, keys: Sequence[str], owner: str, most: int) -> set[str]:
        """At most `most` of `keys` that nobody has asked yet: nobody but `owner` may ask them while it renews its claims."""
        clock, mine = time.time(), list[str]()
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")  # before looking, so that no two see the same key free
            # far ahead: the clock was set back since
            self._connection.execute("DELETE FROM claims WHERE expires < ? OR expires > ?", (clock, clock + 10 * LEASE))
            for some in _parts(keys):
                query = (
                    f"SELECT key FROM calls WHERE key IN {_marks(some)} UNION SELECT key FROM claims WHERE key IN {_marks(some)}"
                )
                taken = {key for (key,) in self._connection.execute(query, (*some, *some))}
                mine += [key for key in some if key not in taken]
                if len(mine) >= most:
                    break
            rows = [(key, self.payer, owner, clock + LEASE) for key in mine[:most]]
            self._connection.executemany("INSERT INTO claims VALUES (?, ?, ?, ?)", rows)
        return set(mine[:most])

    def renew(self, owner: str) -> None:
        with self._lock, self._connection:
            self._connection.execute("UPDATE claims SET expires = ? WHERE owner = ?", (time.time() + LEASE, owner))

    def release(self, owner: str | None = None) -> None:
        """Give up the claims of `owner`; without one, of everybody who asked for this run."""
        whose = ("payer", self.payer) if owner is None else ("owner", owner)
        with self._lock, self._connection:
            self._connection.execute(f"DELETE FROM claims WHERE {whose[0]} = ?", whose[1:])

    def want(self, requests: Iterable[Request]) -> None:
        """Remember requests that this run could not ask, for a batch; others may wait for the same."""
        created = now()
        rows = [(r.key, r.model, json.dumps(r.content, ensure_ascii=False), self.payer, created) for r in requests]
        with self._lock, self._connection:
            self._connection.executemany("INSERT OR IGNORE INTO waiting VALUES (?, ?, ?, ?, ?)", rows)

    def wanted(self, payer: str | None = None) -> dict[str, Request]:
        """By key, what waits for a batch: of all runs, or of one."""
        query = "SELECT key, request FROM waiting WHERE key NOT IN (SELECT key FROM calls)"
        with self._lock:
            rows = self._connection.execute(
                query + (" AND payer = ?" if payer is not None else "") + " ORDER BY key", () if payer is None else (payer,)
            ).fetchall()
        return {key: Request(**json.loads(content)) for key, content in rows}

    def shared(self, keys: Sequence[str]) -> int:
        """How many of these requests other runs wait for as well."""
        with self._lock:
            query = "SELECT count(DISTINCT key) FROM waiting WHERE payer <> ? AND key IN"
            return sum(self._connection.execute(f"{query} {_marks(p)}", (self.payer, *p)).fetchone()[0] for p in _parts(keys))

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
            SELECT model, 'waiting', count(DISTINCT key), NULL, NULL, NULL FROM waiting
            WHERE key NOT IN (SELECT key FROM calls) GROUP BY model ORDER BY 1, 2"""
        with self._lock:
            return self._connection.execute(query).fetchall()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _cost(self, read: int | None, written: int | None) -> float | None:
        return None if self.price is None or read is None or written is None else self.price.of(read, written)


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[i : i + _AT_ONCE] for i in range(0, len(keys), _AT_ONCE))


def _marks(values: Sequence[str]) -> str:
    return f"({','.join('?' * len(values))})"


def find_journal(run: Path) -> tuple[Path, str]:
    """Where the teacher calls of the run in the folder `run` are, and the name that it pays under ("": it has not asked yet)."""
    said = load_json(run / "teacher.json", {"journal": "journal.db", "run": ""})
    return Path(os.path.normpath(run / said["journal"])), said["run"]


def knows(path: Path, model: str) -> bool:
    """Whether the journal in the file `path`, which need not be there, holds any reply of `model`."""
    if not path.exists():
        return False
    connection = open_file(path)
    found = connection.execute("SELECT 1 FROM calls WHERE model = ? LIMIT 1", (model,)).fetchone()
    connection.close()
    return found is not None


def sample_calls(run: Path, stage: Path, limit: int) -> list[dict[str, Any]]:
    """At most `limit` calls on the bill of the run's stage in the folder `stage`: by key, so at random.

    Opened for reading only; a missing journal, or one from before stages were known, holds nothing.
    """
    path, payer = find_journal(run)
    if not path.exists():
        return []
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=60)
    connection.row_factory = sqlite3.Row
    if "stage" not in {row["name"] for row in connection.execute("PRAGMA table_info(calls)")}:
        return []
    name = stage.relative_to(run).as_posix()
    # a stage with several teachers has a bill for each, below its own name
    query = "SELECT * FROM calls WHERE payer = ? AND (stage = ? OR substr(stage, 1, ?) = ?) ORDER BY key LIMIT ?"
    rows = [dict(row) for row in connection.execute(query, (payer, name, len(name) + 1, f"{name}/", limit))]
    connection.close()
    return rows
