"""The journal: what was asked once is never asked again, and nothing that was paid for is lost."""

import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from models.journal import Journal, Reply, Request, requests_of

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
