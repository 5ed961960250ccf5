"""The journal: what was asked once is never asked again, and nothing that was paid for is lost."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data_contracts.config_teacher import LocalTeacher, OpenAITeacher, Price
from data_contracts.errors import PlumblineError
from models import journal as journal_module
from models.journal import Journal, Reply, Request, find_journal, requests_of
from models.teachers.open import journal_path, open_journal

SAMPLING = {"temperature": 0.7, "top_p": 1.0, "max_tokens": 9}


def ask(text, **changes):
    given = {"model": "m", "messages": [{"role": "user", "content": text}], "sampling": SAMPLING, "seed": 0, "index": 0}
    return Request(**given | changes)


def test_stored_replies_are_found_after_reopening(tmp_path):
    journal = Journal(tmp_path / "deep" / "journal.db")
    reply = Reply("naïve \x00 {{ }} '; DROP TABLE calls; --", "stop")
    journal.store([(ask("a"), reply)])
    journal.close()
    again = Journal(tmp_path / "deep" / "journal.db")
    assert again.lookup([ask("a").key, ask("b").key]) == {ask("a").key: reply}


def test_the_first_reply_is_kept(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    journal.store([(ask("a"), Reply("one", "stop"))])
    journal.store([(ask("a"), Reply("two", "stop")), (ask("b"), Reply("three", "stop"))])
    assert [r.text for r in journal.lookup([ask("a").key, ask("b").key]).values()] == ["one", "three"]


def test_everything_that_shapes_a_reply_is_in_the_key():
    base = ask("a")
    others = [
        ask("b"),
        ask("a", model="n"),
        ask("a", seed=1),
        ask("a", index=1),
        ask("a", sampling=SAMPLING | {"temperature": 0.0}),
        ask("a", messages=[{"role": "system", "content": "a"}]),
    ]
    assert len({r.key for r in [base, *others]}) == 7
    assert ask("a").key == base.key


def test_a_row_less_changes_no_other_key():
    chats = [[{"role": "user", "content": c}] for c in ("a", "b", "a", "c")]
    keys = [r.key for r in requests_of("m", chats, SAMPLING, 0)]
    assert len(set(keys)) == 4  # the two equal requests are two requests
    assert [r.key for r in requests_of("m", [chats[0], *chats[2:]], SAMPLING, 0)] == [keys[0], *keys[2:]]


def test_many_keys_are_looked_up_at_once(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    requests = [ask(str(i)) for i in range(1234)]
    journal.store((r, Reply(str(i), "stop")) for i, r in enumerate(requests))
    found = journal.lookup([r.key for r in requests])
    assert [found[r.key].text for r in requests] == [str(i) for i in range(1234)]


def test_threads_may_share_it(tmp_path):
    journal = Journal(tmp_path / "journal.db")

    def work(i):
        journal.store([(ask(str(i)), Reply("x" * i, "stop"))])
        return len(journal.lookup([ask(str(i)).key])[ask(str(i)).key].text)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(100))) == list(range(100))
    assert journal.count() == 100


def test_a_killed_process_loses_nothing_it_stored(tmp_path):
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom models.journal import *\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "for i in range(5):\n"
        "    journal.store([(Request('m', [{'role': 'user', 'content': str(i)}], {}, 0, 0), Reply(str(i), 'stop'))])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "journal.db")], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    assert Journal(tmp_path / "journal.db").count() == 5


def test_it_is_a_plain_write_ahead_sqlite_file(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    journal.store([(ask("a"), Reply("b", "stop"))])
    with sqlite3.connect(tmp_path / "journal.db") as other:  # beside the open one
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        model, request, reply = other.execute("SELECT model, request, reply FROM calls").fetchone()
    assert (model, reply) == ("m", "b") and '"content": "a"' in request


def old_file(path, calls=1):
    """What plumbline 0.1 wrote."""
    with sqlite3.connect(path) as old:
        old.execute(
            "CREATE TABLE calls (key TEXT PRIMARY KEY, model TEXT NOT NULL, request TEXT NOT NULL, reply TEXT NOT NULL, "
            "finish_reason TEXT NOT NULL, created TEXT NOT NULL) WITHOUT ROWID"
        )
        for i in range(calls):
            request = ask(str(i))
            row = (request.key, "m", json.dumps(request.content), f"old {i}", "stop", "2026-01-01T00:00:00Z")
            old.execute("INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?)", row)
    old.close()


def test_an_older_file_is_brought_up_to_date_with_all_it_holds(tmp_path):
    old_file(tmp_path / "journal.db", calls=3)
    journal = Journal(tmp_path / "journal.db", "run", Price(input=1.0, output=1.0))
    found = journal.lookup([ask(str(i)).key for i in range(3)])
    assert [r.text for r in found.values()] and {r.text for r in found.values()} == {"old 0", "old 1", "old 2"}
    assert journal.bill(list(found), tmp_path / "revise") == set()  # somebody paid, but not this run
    assert all(r.cost is None for r in found.values())
    journal.store([(ask("new"), Reply("x", "stop", 1_000_000, 2_000_000))])
    assert journal.spent() == (3_000_000, 3.0)
    assert journal.summary() == [("m", "stop", 4, 1_000_000, 2_000_000, 3.0)]


def test_many_processes_may_open_an_older_file_at_once(tmp_path):
    old_file(tmp_path / "journal.db")
    with ThreadPoolExecutor(8) as pool:  # connections of their own: to SQLite the same as processes
        journals = list(pool.map(lambda i: Journal(tmp_path / "journal.db", str(i)), range(8)))
    for i, journal in enumerate(journals):
        journal.store([(ask(f"new {i}"), Reply("x", "stop"))])
    assert [j.count() for j in journals] == [9] * 8


def test_a_file_that_somebody_is_writing_to_is_waited_for(tmp_path):
    """SQLite waits for whoever writes, but not where the file is yet to get a write-ahead log: then it fails at once."""
    old_file(tmp_path / "journal.db")
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.3, other.execute, ["COMMIT"]).start()
    assert Journal(tmp_path / "journal.db").count() == 1


def test_a_file_that_is_no_journal_or_a_newer_one_is_refused(tmp_path):
    (tmp_path / "garbage.db").write_bytes(b"\x00not a database" * 100)
    with pytest.raises(PlumblineError, match=r"garbage\.db cannot be used \(file is not a database\)"):
        Journal(tmp_path / "garbage.db")
    Journal(tmp_path / "newer.db").close()
    with sqlite3.connect(tmp_path / "newer.db") as newer:
        newer.execute("PRAGMA user_version = 99")
    with pytest.raises(PlumblineError, match="made by a newer plumbline"):
        Journal(tmp_path / "newer.db")
    with pytest.raises(PlumblineError, match="cannot be used"):
        Journal(tmp_path / "garbage.db" / "below.db")


def test_what_waited_in_an_older_file_still_waits(tmp_path):
    journal = Journal(tmp_path / "journal.db", "one")
    journal.want([ask("a")])
    journal.close()
    with sqlite3.connect(tmp_path / "journal.db") as file:  # what plumbline wrote before several runs could wait for one request
        content = file.execute("SELECT * FROM waiting").fetchall()
        file.execute("DROP TABLE waiting")
        file.execute("DROP TABLE claims")
        file.execute("ALTER TABLE calls DROP COLUMN stage")
        columns = "key TEXT PRIMARY KEY, model TEXT NOT NULL, request TEXT NOT NULL, payer TEXT NOT NULL, created TEXT NOT NULL"
        file.execute(f"CREATE TABLE waiting ({columns}) WITHOUT ROWID")
        file.executemany("INSERT INTO waiting VALUES (?, ?, ?, ?, ?)", content)
        file.execute("PRAGMA user_version = 1")
    file.close()
    one, two = Journal(tmp_path / "journal.db", "one"), Journal(tmp_path / "journal.db", "two")
    two.want([ask("a")])
    assert one.wanted("one") == one.wanted("two") == {ask("a").key: ask("a")}


def test_runs_that_wait_for_the_same_share_it(tmp_path):
    one, two = Journal(tmp_path / "j.db", "one"), Journal(tmp_path / "j.db", "two")
    one.want([ask("a"), ask("b")])
    two.want([ask("b"), ask("c")])
    assert set(one.wanted("one")) == {ask(t).key for t in "ab"} and set(one.wanted("two")) == {ask(t).key for t in "bc"}
    assert len(one.wanted()) == 3 and ("m", "waiting", 3, None, None, None) in one.summary()
    two.store([(ask("b"), Reply("x", "stop"))])
    assert set(one.wanted("one")) == {ask("a").key} and set(one.wanted("two")) == {ask("c").key}


def test_a_claim_is_one_owners_until_it_is_given_up_or_forgotten(tmp_path, monkeypatch):
    one, two = Journal(tmp_path / "j.db", "one"), Journal(tmp_path / "j.db", "two")
    keys = [ask(t).key for t in "abcd"]
    one.store([(ask("d"), Reply("x", "stop"))])
    assert one.claim(keys, "A", 2) == set(keys[:2])  # not more than it can do
    assert two.claim(keys, "B", 9) == {keys[2]}  # what is claimed, and what is answered, is not free
    one.release("A")
    assert two.claim(keys, "B", 9) == set(keys[:2])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 0.9 * journal_module.LEASE)
    assert one.claim(keys, "A", 9) == set()
    two.renew("B")
    monkeypatch.setattr(time, "time", lambda: now + 1.8 * journal_module.LEASE)
    assert one.claim(keys, "A", 9) == set()  # renewed in time
    monkeypatch.setattr(time, "time", lambda: now + 2 * journal_module.LEASE)
    assert one.claim(keys, "A", 9) == set(keys[:3])
    monkeypatch.setattr(time, "time", lambda: now - 10**6)  # the clock was set back: nobody waits for a week
    assert two.claim(keys, "B", 9) == set(keys[:3])
    two.release()  # whoever asked for this run, such as a start of it that was killed
    assert one.claim(keys, "A", 9) == set(keys[:3])
    two.release()
    assert two.claim(keys, "B", 9) == set()


def test_what_waits_is_forgotten_when_it_is_answered(tmp_path):
    one, two = Journal(tmp_path / "j.db", "one"), Journal(tmp_path / "j.db", "two")
    one.want([ask("a"), ask("b")])
    two.want([ask("c")])
    assert set(one.wanted()) == {ask(t).key for t in "abc"} and set(one.wanted("one")) == {ask(t).key for t in "ab"}
    assert one.wanted()[ask("a").key] == ask("a")
    two.store([(ask("a"), Reply("x", "stop"))])
    assert set(one.wanted("one")) == {ask("b").key}
    assert ("m", "waiting", 2, None, None, None) in one.summary()


def test_a_run_finds_its_journal_and_keeps_its_name(tmp_path):
    run, paid = tmp_path / "runs" / "a", OpenAITeacher(kind="openai", base_url="http://x/v1", model="m")
    run.mkdir(parents=True)
    assert find_journal(run) == (run / "journal.db", "")
    first = open_journal(paid, run)
    assert first.path == tmp_path / "runs" / "journal.db"  # beside the runs: the next one does not pay again
    assert open_journal(paid, run).payer == first.payer != ""
    assert find_journal(run)[0].resolve() == first.path and find_journal(run)[1] == first.payer
    assert str(tmp_path) not in (run / "teacher.json").read_text()
    other = tmp_path / "runs" / "b"
    other.mkdir()
    assert open_journal(paid, other).path == first.path and open_journal(paid, other).payer != first.payer
    assert journal_path(LocalTeacher(kind="local", model="m"), run) == run / "journal.db"  # a run's own, and free of charge
    assert journal_path(paid.model_copy(update={"journal": "/x/j.db"}), run) == Path("/x/j.db")
    (run / "journal.db").touch()  # a run of an earlier version goes on with its own
    assert journal_path(paid, run) == run / "journal.db"
