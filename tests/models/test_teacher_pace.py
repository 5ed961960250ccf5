"""How a server is asked: as fast as it bears, again what it put off, and never for more than the budget."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from data_contracts.config_teacher import Budget, OpenAITeacher, Price
from data_contracts.errors import PassingError, PlumblineError
from models.engine import Sampling, quiet
from models.journal import Journal, Reply, requests_of
from models.teacher import metered
from models.teachers.budget import Allowance
from models.teachers.http import retry_after
from models.teachers.scheduler import Pace, ask_all, backoff
from models.teachers.server import openai_teacher
from tests.models.chat_server import chats, echo, refuses, says, serving

ROOT = Path(__file__).resolve().parents[2]
SAMPLING = Sampling(temperature=0.7, top_p=1.0, max_tokens=20)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "any")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def teacher_at(address, journal, **more):
    return openai_teacher(OpenAITeacher(kind="openai", base_url=address, model="m", api_key_env="TEACHER_KEY", **more), journal)


def test_the_pace_halves_once_a_wave_and_climbs_again():
    pace = Pace(16)
    for _ in range(10):  # ten refusals of requests sent together
        pace.refused(sent=1.0, now=2.0, wait=0.5)
    assert (pace.limit, pace.resumes_at) == (8, 2.5)
    pace.refused(sent=2.5, now=3.0, wait=0.001)  # no answer since: it is not believed again
    assert pace.limit == 4 and 3.5 <= pace.resumes_at <= 4.0
    for _ in range(5):
        pace.answered()
    assert pace.limit == 5
    for _ in range(500):
        pace.answered()
    assert pace.limit == 16
    for i in range(9):
        pace.refused(sent=10.0 + i, now=10.5 + i, wait=0.0)
    assert pace.limit == 1


def test_a_server_that_bears_four_gets_no_more_than_it_bears(tmp_path):
    lock, busy, most = threading.Lock(), [0], []

    def answer(request):
        with lock:
            busy[0] += 1
            most.append(busy[0])
            too_many = busy[0] > 4
        time.sleep(0.004)
        with lock:
            busy[0] -= 1
        return (429, refuses(429, "too many")[1], ("retry-after-ms", "5")) if too_many else echo(request)

    texts = [str(i) for i in range(240)]
    with serving(answer) as (address, requests, _):
        replies = teacher_at(address, Journal(tmp_path / "j.db"), concurrency=32).complete(chats(*texts), SAMPLING, 0, quiet)
    assert [r.text for r in replies] == [f"re: {t}" for t in texts]
    refused = len(requests) - len(texts)
    assert 1 <= refused < 120  # 32 at a time all along would have been refused far more often than answered
    assert sum(most[-100:]) / 100 < 8


def test_what_retry_after_asks_for_is_kept(tmp_path):
    times = []

    def answer(request):
        times.append(time.monotonic())
        return (429, refuses(429, "later")[1], ("retry-after-ms", "400")) if len(times) == 1 else echo(request)

    with serving(answer) as (address, _, _):
        teacher_at(address, Journal(tmp_path / "j.db"), concurrency=1).complete(chats("a", "b"), SAMPLING, 0, quiet)
    assert len(times) == 3 and times[1] - times[0] > 0.39


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 99999 07:28:00 GMT"}, None),
        ({"retry-after": "9" * 400}, float("inf")),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_every_form_of_retry_after_is_read(headers, seconds):
    assert retry_after(headers) == seconds


def test_waits_double_and_are_spread():
    random.seed(0)  # as vLLM does in every run
    first = [backoff(5) for _ in range(50)]
    random.seed(0)
    assert first != [backoff(5) for _ in range(50)], "two runs beside each other would ask again at the same moments"
    waits = [[backoff(tries) for _ in range(50)] for tries in range(12)]
    assert all(0.25 * 2**t <= w <= 0.5 * 2**t for t in range(6) for w in waits[t])
    assert all(w <= 30 for w in waits[11]) and len(set(waits[0])) > 10


def test_a_timeout_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr("models.teachers.scheduler.FIRST_WAIT", 0.01)
    slow, released = iter([True]), threading.Event()

    def answer(request):
        if next(slow, False):
            released.wait(10)
        return echo(request)

    with serving(answer) as (address, requests, _):
        replies = teacher_at(address, Journal(tmp_path / "j.db"), timeout=0.5).complete(chats("a"), SAMPLING, 0, quiet)
        released.set()
    assert replies == [Reply("re: a", "stop")] and len(requests) == 2


@pytest.mark.parametrize(
    ("answer", "kind", "asked"),
    [
        (refuses(503, "down"), PassingError, 3),
        ((429, refuses(429, "later")[1], ("retry-after", "9999")), PassingError, 1),
        (refuses(429, "no money left", "insufficient_quota"), PlumblineError, 1),
    ],
)
def test_patience_ends(tmp_path, monkeypatch, answer, kind, asked):
    monkeypatch.setattr("models.teachers.scheduler.TRIES", 3)
    monkeypatch.setattr("models.teachers.scheduler.FIRST_WAIT", 0.01)
    with serving(lambda _: answer) as (address, requests, _), pytest.raises(PlumblineError, match=r"HTTP (503|429)") as caught:
        teacher_at(address, Journal(tmp_path / "j.db"), concurrency=1).complete(chats("a"), SAMPLING, 0, quiet)
    assert type(caught.value) is kind and len(requests) == asked


def test_a_server_that_puts_everything_off_is_given_up_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr("models.teachers.scheduler.PATIENCE", 0.5)
    monkeypatch.setattr("models.teachers.scheduler.FIRST_WAIT", 0.002)
    with serving(lambda _: refuses(429, "later")) as (address, requests, _), pytest.raises(PassingError, match="HTTP 429"):
        teacher_at(address, Journal(tmp_path / "j.db")).complete(chats("a"), SAMPLING, 0, quiet)
    assert 6 < len(requests) < 20  # more tries than a broken server gets, and no storm


def test_a_budget_in_tokens_is_never_exceeded_and_can_be_raised(tmp_path):
    def answer(request):
        return says("re: " + request["messages"][0]["content"], usage=(30, 20))

    texts, path = [f"question {i:02}" for i in range(40)], tmp_path / "j.db"
    with serving(answer) as (address, requests, _):
        for tokens in (510, 1020):
            teacher = teacher_at(address, Journal(path, "run"), budget=Budget(tokens=tokens), concurrency=8)
            with pytest.raises(PlumblineError, match=rf"spent \d+ of {tokens} tokens.*raise the budget"):
                teacher.complete(chats(*texts), SAMPLING, 0, quiet)
            spent = Journal(path, "run").spent()[0]
            assert tokens - 50 - 50 < spent <= tokens and spent == 50 * len(requests)
        journal = Journal(path, "run")
        assert len(journal.wanted("run")) == 40 - len(requests)  # what a batch would have to answer
        replies = teacher_at(address, journal, budget=Budget(tokens=10**6)).complete(chats(*texts), SAMPLING, 0, quiet)
        assert [r.text for r in replies] == [f"re: {t}" for t in texts] and len(requests) == 40
        assert journal.wanted() == {}


def test_a_budget_in_money_counts_what_this_run_paid_only(tmp_path):
    price = Price(input=10_000.0, output=20_000.0)  # 0.3 + 0.4 a call
    with serving(lambda _: says("x", usage=(30, 20))) as (address, requests, _):
        budget = Budget(money=3.0)
        for run, new, total in (("one", 4, 4), ("two", 4, 8)):
            journal = Journal(tmp_path / "j.db", run, price)
            teacher = teacher_at(address, journal, budget=budget, price=price, concurrency=2)
            with pytest.raises(PlumblineError, match=rf"spent {0.7 * new:.2g} of 3 in money"):
                teacher.complete(chats(*"abcdefghijkl"), SAMPLING, 0, quiet)
            assert len(requests) == total
            assert journal.spent() == (50 * new, pytest.approx(0.7 * new))


def test_a_server_that_does_not_count_cannot_keep_a_budget(tmp_path):
    with serving(echo) as (address, requests, _), pytest.raises(PlumblineError, match="does not say how many tokens"):
        journal = Journal(tmp_path / "j.db")
        teacher_at(address, journal, budget=Budget(tokens=10**6), concurrency=1).complete(chats("a", "b"), SAMPLING, 0, quiet)
    assert len(requests) == journal.count() == 1  # paid for, so kept


def test_the_allowance_learns_what_a_byte_takes(tmp_path):
    journal = Journal(tmp_path / "j.db")
    first, second = requests_of("m", chats("x" * 984, "y" * 984), {"max_tokens": 100}, 0)  # 1000 bytes each
    allowance = Allowance(Budget(tokens=1900), None, journal)
    assert allowance.reserve(first)  # 500 + 100
    allowance.settle(first, Reply("", "stop", 900, 50))
    assert not allowance.reserve(second)  # 950 + 900 + 100: at half a token a byte it would have fitted


def test_usage_is_what_this_stage_paid_for(tmp_path):
    price, path = Price(input=1.0, output=2.0), tmp_path / "j.db"
    nothing = {"input_tokens": 0, "output_tokens": 0, "cost": 0}
    with serving(lambda _: says("x", usage=(30, 20))) as (address, _, _):
        teacher_at(address, Journal(path, "earlier", price), price=price).complete(chats("a"), SAMPLING, 0, quiet)
        for _ in range(2):  # the second time, everything comes from the journal: it was this stage that paid
            asked, usage = metered(teacher_at(address, Journal(path, "now", price), price=price))
            asked.complete(chats("a", "b"), SAMPLING, 0, quiet)
            asked.complete(chats("c"), SAMPLING, 0, quiet)
            asked.complete(chats("b"), SAMPLING, 0, quiet)  # once more in the same stage: one call
            paid = {"input_tokens": 60, "output_tokens": 40, "cost": pytest.approx(2 * 70e-6)}
            assert usage(tmp_path / "judge") == {"calls": 4, "cached": 2} | paid
            assert usage(tmp_path / "score_pairs") == {"calls": 4, "cached": 4} | nothing
    with serving(echo) as (address, _, _):
        asked, usage = metered(teacher_at(address, Journal(path, "now")))
        asked.complete(chats("d"), SAMPLING, 0, quiet)
        assert usage(tmp_path / "judge") == {"calls": 1, "cached": 0, "input_tokens": None, "output_tokens": None, "cost": None}
        assert usage(tmp_path / "revise")["cost"] is None  # nobody named a price: not known to be nothing


def test_replies_under_way_when_an_attempt_breaks_are_kept():
    kept = []

    async def attempt(request):
        if request.messages[0]["content"] == "bad":
            raise PlumblineError("refused")
        await asyncio.sleep(0.05)
        return Reply("late", "stop")

    requests = requests_of("m", chats("a", "bad", "b", "never"), {"max_tokens": 1}, 0)

    async def run():
        await ask_all(requests, attempt, 3, Allowance(None, None, NO_JOURNAL), kept.extend)

    with pytest.raises(PlumblineError, match="refused"):
        asyncio.run(run())
    assert [r.messages[0]["content"] for r, _ in kept] == ["a", "b"]


class _Nothing:
    def spent(self):
        return 0, 0.0


NO_JOURNAL = _Nothing()


def test_ctrl_c_keeps_what_is_under_way(tmp_path):
    reached, stopped, asked = threading.Event(), threading.Event(), []

    def answer(request):
        asked.append(request)
        if len(asked) == 2:
            reached.set()
        stopped.wait(60)  # nobody is answered before the signal has arrived
        return echo(request)

    code = (
        "import signal, sys\nfrom pathlib import Path\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which a shell's background jobs ignore, and their children
        "from tests.models.test_teacher_pace import *\n"
        "teacher_at(sys.argv[1], Journal(Path(sys.argv[2])), concurrency=2).complete(chats(*'012345'), SAMPLING, 0, quiet)\n"
    )
    with serving(answer) as (address, requests, _):
        child = subprocess.Popen(
            [sys.executable, "-c", code, address, str(tmp_path / "j.db")], cwd=ROOT, env=os.environ, stderr=subprocess.PIPE
        )
        assert reached.wait(60)
        child.send_signal(signal.SIGINT)
        time.sleep(2)  # to be handled
        stopped.set()
        assert b"KeyboardInterrupt" in child.communicate(timeout=60)[1]
    assert Journal(tmp_path / "j.db").count() == len(requests) == 2
