"""Processes and threads that want the same at the same moment: one asks, the others wait, and nobody waits for the dead."""

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data_contracts.config_teacher import OpenAITeacher
from data_contracts.errors import PlumblineError
from models import journal as journal_module
from models.engine import Sampling, quiet
from models.journal import Journal
from models.teachers.server import openai_teacher
from tests.models.chat_server import echo, refuses, serving

ROOT = Path(__file__).resolve().parents[2]
SAMPLING = Sampling(temperature=0.7, top_p=1.0, max_tokens=20)
TEXTS = [str(i) for i in range(24)]
# what it is given: address, journal, payer, the texts it asks, whether claims count, the lease in seconds
CHILD = """
import json, sys
from pathlib import Path
from tests.models.test_teacher_shared import *
import openai
address, path, payer, texts, claims, lease = sys.argv[1:]
journal_module.LEASE = float(lease)
if claims == "no":
    Journal.claim = lambda self, keys, owner, most: set(keys)
teacher = teacher_at(address, Journal(Path(path), payer), 4)
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps([r.text for r in teacher.complete(chats(*json.loads(texts)), SAMPLING, 0, quiet)]), flush=True)
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "any")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def teacher_at(address, journal, concurrency):
    config = OpenAITeacher(kind="openai", base_url=address, model="m", api_key_env="TEACHER_KEY", concurrency=concurrency)
    return openai_teacher(config, journal)


def chats(*texts):
    return [[{"role": "user", "content": text}] for text in texts]


def start(address, journal, payer, texts, claims="yes", lease=20.0):
    """A process that has imported everything and asks when it is told to."""
    arguments = [address, str(journal), payer, json.dumps(texts), claims, str(lease)]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        cwd=ROOT,
        env=os.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "ready\n"
    return child


def go(*children):
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()


@pytest.mark.parametrize("claims", ["yes", "no"])  # without claims both pay: the test would notice
def test_two_processes_that_want_the_same_pay_once(tmp_path, claims):
    def answer(request):
        time.sleep(0.02)
        return echo(request)

    with serving(answer) as (address, requests, _):
        children = [start(address, tmp_path / "j.db", payer, TEXTS[::way], claims) for payer, way in (("one", 1), ("two", -1))]
        go(*children)
        said = [json.loads(child.communicate(timeout=60)[0]) for child in children]
    assert said[0] == said[1][::-1] == [f"re: {t}" for t in TEXTS]
    asked = [r["messages"][0]["content"] for r in requests]
    assert set(asked) == set(TEXTS)
    assert len(asked) == len(TEXTS) if claims == "yes" else len(asked) > len(TEXTS)


def test_nobody_waits_for_a_process_that_was_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "LEASE", 1.5)
    reached, killed = threading.Event(), threading.Event()

    def answer(request):
        if request["messages"][0]["content"] in "45" and not killed.is_set():
            reached.set()
            killed.wait(60)
        return echo(request)

    waiting = Journal(tmp_path / "j.db", "two")
    with serving(answer) as (address, requests, _), ThreadPoolExecutor(1) as pool:
        child = start(address, tmp_path / "j.db", "one", [*"012345"], lease=1.5)
        go(child)
        assert reached.wait(60)
        found = pool.submit(teacher_at(address, waiting, 4).complete, chats(*"345a"), SAMPLING, 0, quiet)
        time.sleep(2.5)  # longer than the lease: its owner lives, and renews it
        assert not found.done() and sorted(r["messages"][0]["content"] for r in requests) == sorted("012345a")
        child.kill()
        child.wait()
        killed.set()
        assert [r.text for r in found.result(60)] == ["re: 3", "re: 4", "re: 5", "re: a"]
    asked = sorted(r["messages"][0]["content"] for r in requests)
    assert asked == sorted(["0", "1", "2", "3", "4", "4", "5", "5", "a"])  # again only what was under way when it died


def test_threads_share_too_and_take_over_what_another_could_not_get(tmp_path):
    broken = threading.Event()

    def answer(request):
        time.sleep(0.02)
        if request["messages"][0]["content"] == "7" and not broken.is_set():
            broken.set()
            return refuses(400, "not now")
        return echo(request)

    journal = Journal(tmp_path / "j.db", "run")
    with serving(answer) as (address, requests, _), ThreadPoolExecutor(2) as pool:
        teacher = teacher_at(address, journal, 2)
        calls = [pool.submit(teacher.complete, chats(*TEXTS), SAMPLING, 0, quiet) for _ in range(2)]
        outcomes = [call.exception(60) for call in calls]
    assert sorted(type(outcome) for outcome in outcomes if outcome) == [PlumblineError]
    (done,) = [call.result() for call, outcome in zip(calls, outcomes, strict=True) if outcome is None]
    assert [r.text for r in done] == [f"re: {t}" for t in TEXTS]
    assert len(requests) == len(TEXTS) + 1  # the refusal, and everything else once
