"""Processes and threads that want the same at the same moment: one asks, the others wait, and nobody waits for the dead."""

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from data_contracts.config_teacher import OpenAITeacher
from data_contracts.errors import PlumblineError
from models import journal as journal_module
from models.engine import Sampling, quiet
from models.journal import Journal
from models.teachers.server import openai_teacher
from tests.models.chat_server import chats, echo, refuses, serving

ROOT = Path(__file__).resolve().parents[2]
SAMPLING = Sampling(temperature=0.7, top_p=1.0, max_tokens=20)
# what it is given: address, journal, payer, the lease in seconds; then, line by line, what it asks and whether claims count
CHILD = """
import json, sys
from pathlib import Path
from tests.models.test_teacher_shared import *
import openai
address, path, payer, lease = sys.argv[1:]
journal_module.LEASE = float(lease)
teacher = teacher_at(address, Journal(Path(path), payer), 4)
print("ready", flush=True)
for line in sys.stdin:
    texts, claims = json.loads(line)
    if not claims:
        Journal.claim = lambda self, keys, owner, most: set(keys)
    print(json.dumps([r.text for r in teacher.complete(chats(*texts), SAMPLING, 0, quiet)]), flush=True)
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "any")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def teacher_at(address, journal, concurrency):
    config = OpenAITeacher(kind="openai", base_url=address, model="m", api_key_env="TEACHER_KEY", concurrency=concurrency)
    return openai_teacher(config, journal)


@contextmanager
def started(address, journal, *payers, lease=20.0):
    """Processes that have imported everything and ask when they are told to."""
    command = [sys.executable, "-c", CHILD, address, str(journal)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen([*command, payer, str(lease)], cwd=ROOT, env=os.environ, **pipes) for payer in payers]
    try:
        assert [child.stdout.readline() for child in children] == ["ready\n"] * len(children)
        yield children
    finally:
        for child in children:
            child.kill()
            child.communicate()


def tell(child, texts, claims=True):
    child.stdin.write(json.dumps([texts, claims]) + "\n")
    child.stdin.flush()


def asked(requests):
    return sorted(request["messages"][0]["content"] for request in requests)


def test_two_processes_that_want_the_same_pay_once(tmp_path):
    def answer(request):
        time.sleep(0.02)
        return echo(request)

    texts, others = [str(i) for i in range(24)], [f"other {i}" for i in range(24)]
    with serving(answer) as (address, requests, _), started(address, tmp_path / "j.db", "one", "two") as (one, two):
        tell(one, texts)
        tell(two, texts[::-1])
        said = [json.loads(child.stdout.readline()) for child in (one, two)]
        assert said[0] == said[1][::-1] == [f"re: {t}" for t in texts]
        assert asked(requests) == sorted(texts)
        requests.clear()
        for child in (one, two):  # the control: without claims both pay
            tell(child, others, claims=False)
        assert all(json.loads(child.stdout.readline()) == [f"re: {t}" for t in others] for child in (one, two))
        assert len(requests) > len(others)


def test_nobody_waits_for_a_process_that_was_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "LEASE", 3.0)
    reached, other, killed = threading.Event(), threading.Event(), threading.Event()

    def answer(request):
        if request["messages"][0]["content"] == "a":
            other.set()
        if request["messages"][0]["content"] in "45" and not killed.is_set():
            reached.set()
            killed.wait(60)
        return echo(request)

    waiting = Journal(tmp_path / "j.db", "two")
    with (
        serving(answer) as (address, requests, _),
        started(address, tmp_path / "j.db", "one", lease=3.0) as (child,),
        ThreadPoolExecutor(1) as pool,
    ):
        tell(child, [*"012345"])
        assert reached.wait(60)
        found = pool.submit(teacher_at(address, waiting, 4).complete, chats(*"345a"), SAMPLING, 0, quiet)
        assert other.wait(60)
        time.sleep(3.5)  # longer than the lease: its owner lives, and renews it
        assert not found.done() and asked(requests) == sorted("012345a")
        child.kill()
        child.wait()
        killed.set()
        assert [r.text for r in found.result(60)] == ["re: 3", "re: 4", "re: 5", "re: a"]
    assert asked(requests) == sorted("01234455a")  # again only what was under way when it died


def test_threads_share_too_and_take_over_what_another_could_not_get(tmp_path):
    broken = threading.Event()

    def answer(request):
        time.sleep(0.02)
        if request["messages"][0]["content"] == "7" and not broken.is_set():
            broken.set()
            return refuses(400, "not now")
        return echo(request)

    journal = Journal(tmp_path / "j.db", "run")
    texts = [str(i) for i in range(24)]
    with serving(answer) as (address, requests, _), ThreadPoolExecutor(2) as pool:
        teacher = teacher_at(address, journal, 2)
        calls = [pool.submit(teacher.complete, chats(*texts), SAMPLING, 0, quiet) for _ in range(2)]
        outcomes = [call.exception(60) for call in calls]
    assert sorted(type(outcome) for outcome in outcomes if outcome) == [PlumblineError]
    (done,) = [call.result() for call, outcome in zip(calls, outcomes, strict=True) if outcome is None]
    assert [r.text for r in done] == [f"re: {t}" for t in texts]
    assert len(requests) == len(texts) + 1  # the refusal, and everything else once
