"""The SQLite file of a journal: its tables, and how an older file is brought up to date."""

import sqlite3
import time
from pathlib import Path

from data_contracts.errors import PlumblineError

# of the file: 0 had `calls` alone, without the columns of `_ADDED`; 1 no stages, no claims, one run a waiting request
VERSION = 2
_PATIENCE = 60  # seconds, with whoever else writes
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, request TEXT NOT NULL, reply TEXT NOT NULL,
    finish_reason TEXT NOT NULL, created TEXT NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS waiting (
    key TEXT NOT NULL, model TEXT NOT NULL, request TEXT NOT NULL, payer TEXT NOT NULL,
    created TEXT NOT NULL, PRIMARY KEY (key, payer)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS claims (
    key TEXT PRIMARY KEY, payer TEXT NOT NULL, owner TEXT NOT NULL, expires REAL NOT NULL) WITHOUT ROWID""",
)
_ADDED = {"input_tokens": "INTEGER", "output_tokens": "INTEGER", "cost": "REAL", "payer": "TEXT", "stage": "TEXT"}


def open_file(path: Path) -> sqlite3.Connection:
    """Raises PlumblineError if the file is no journal, cannot be opened, or was made by a newer version."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=_PATIENCE, check_same_thread=False)
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous=FULL")  # what was committed survives even a power cut
        _upgrade(connection, path)
    except (sqlite3.Error, OSError) as error:
        raise PlumblineError(f"the journal {path} cannot be used ({error}): name another file in teacher.journal") from None
    return connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Readers never wait. Where somebody else is writing to a file that is not so yet, SQLite does not wait but fails at once."""
    begin = time.monotonic()
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() - begin > _PATIENCE:
                raise
            time.sleep(0.02)


def _upgrade(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a file of an older version up to this one; whoever opens it at the same time waits."""
    if _version(connection) == VERSION:
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        found = _version(connection)
        if found > VERSION:
            raise PlumblineError(f"the journal {path} was made by a newer plumbline: update plumbline, or use another file")
        if found == 1:
            connection.execute("ALTER TABLE waiting RENAME TO waiting_1")
        for statement in _SCHEMA:
            connection.execute(statement)
        if found == 1:
            connection.execute("INSERT INTO waiting SELECT key, model, request, payer, created FROM waiting_1")
            connection.execute("DROP TABLE waiting_1")
        there = {row[1] for row in connection.execute("PRAGMA table_info(calls)")}
        for name, kind in _ADDED.items():
            if name not in there:
                connection.execute(f"ALTER TABLE calls ADD COLUMN {name} {kind}")
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
