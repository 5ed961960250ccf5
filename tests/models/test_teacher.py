"""Teachers over HTTP (a real little server on loopback) and in the engine: paid once, kept at once, no key anywhere."""

import logging
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import pytest

from data_contracts.config_teacher import OpenAITeacher
from data_contracts.errors import PlumblineError
from models.chat import decode_answer, encode_prompt
from models.checkpoint import load_tokenizer
from models.engine import Completion, Sampling, quiet
from models.journal import Journal, Reply
from models.teacher import local_teacher
from models.teachers.server import openai_teacher
from tests.models.chat_server import chats, dripping, echo, refuses, says, serving

ROOT = Path(__file__).resolve().parents[2]
SECRET = "sk-very-secret-0123456789"
SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=33)


@pytest.fixture
def journal(tmp_path, monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", SECRET)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    opened = Journal(tmp_path / "journal.db")
    yield opened
    opened.close()


def teacher_at(address, journal, concurrency=4, **more):
    server = {"base_url": address, "model": "big/teacher", "api_key_env": "TEACHER_KEY", "concurrency": concurrency} | more
    return openai_teacher(OpenAITeacher(kind="openai", **server), journal)


def test_replies_come_in_order_and_the_request_is_what_was_asked(journal):
    with serving(echo) as (address, requests, headers):
        seen = []
        teacher = teacher_at(address, journal)
        replies = teacher.complete(chats(*map(str, range(20))), SAMPLING, 3, lambda done, total: seen.append((done, total)))
    assert replies == [Reply(f"re: {i}", "stop") for i in range(20)]
    assert seen[0] == (0, 20) and seen[-1] == (20, 20) and seen == sorted(set(seen))
    assert set(headers) == {("/v1/chat/completions", f"Bearer {SECRET}")}
    asked = {k: v for k, v in requests[0].items() if k not in ("messages", "seed")}
    assert asked == {"model": "big/teacher", "temperature": 0.7, "top_p": 0.9, "max_tokens": 33}
    assert len({r["seed"] for r in requests}) == 20 and all(0 <= r["seed"] < 2**31 for r in requests)
    assert teacher.name == "big/teacher" and teacher.score is None


def test_a_rerun_asks_nothing_and_another_seed_asks_again(journal):
    with serving(echo) as (address, requests, _):
        first = teacher_at(address, journal).complete(chats("a", "b", "a"), SAMPLING, 0, quiet)
        assert len(requests) == 3
        assert teacher_at(address, journal).complete(chats("a", "b", "a"), SAMPLING, 0, quiet) == first
        assert len(requests) == 3
        teacher_at(address, journal).complete(chats("b", "new", "a"), SAMPLING, 0, quiet)
        assert [r["messages"][0]["content"] for r in requests[3:]] == ["new"]
        teacher_at(address, journal).complete(chats("a"), SAMPLING, 1, quiet)
        assert len(requests) == 5


def test_a_busy_server_is_asked_again(journal):
    busy = iter([refuses(429, "slow down"), refuses(503, "starting")])
    with serving(lambda request: next(busy, None) or echo(request)) as (address, requests, _):
        assert teacher_at(address, journal).complete(chats("a"), SAMPLING, 0, quiet) == [Reply("re: a", "stop")]
    assert len(requests) == 3


def test_what_arrived_before_a_failure_is_not_paid_for_twice(journal):
    broken = threading.Event()

    def answer(request):
        if broken.is_set() and request["messages"][0]["content"] == "7":
            return refuses(400, "no such thing")
        return echo(request)

    texts = [str(i) for i in range(12)]
    with serving(answer) as (address, requests, _):
        broken.set()
        with pytest.raises(PlumblineError, match=r"refused model 'big/teacher' \(HTTP 400\): .*no such thing"):
            teacher_at(address, journal, concurrency=1).complete(chats(*texts), SAMPLING, 0, quiet)
        paid = len(requests) - 1
        assert paid >= 7 and journal.count() == paid
        broken.clear()
        replies = teacher_at(address, journal).complete(chats(*texts), SAMPLING, 0, quiet)
        assert [r.text for r in replies] == [f"re: {t}" for t in texts]
        assert len(requests) == len(texts) + 1  # every answer once, and the one refusal


def test_a_kill_between_replies_loses_none_of_them(journal):
    reached, killed = threading.Event(), threading.Event()

    def answer(request):
        if request["messages"][0]["content"] == "3" and not killed.is_set():
            reached.set()
            killed.wait(60)
        return echo(request)

    code = (
        "import sys\nfrom pathlib import Path\nfrom tests.models.test_teacher import *\n"
        "import models.journal\nmodels.journal.LEASE = 1.0\n"
        "teacher_at(sys.argv[1], Journal(Path(sys.argv[2])), concurrency=1).complete("
        "chats(*'012345'), SAMPLING, 0, quiet)\n"
    )
    with serving(answer) as (address, requests, _):
        child = subprocess.Popen([sys.executable, "-c", code, address, str(journal.path)], cwd=ROOT)
        assert reached.wait(60)
        child.kill()
        child.wait()
        killed.set()
        assert journal.count() == 3
        del requests[:]
        replies = teacher_at(address, journal).complete(chats(*"012345"), SAMPLING, 0, quiet)
    assert [r.text for r in replies] == [f"re: {i}" for i in range(6)]
    assert sorted(r["messages"][0]["content"] for r in requests) == ["3", "4", "5"]


def test_replies_are_kept_before_anybody_reads_them(journal):
    kept = []
    with serving(echo) as (address, _, _):
        teacher_at(address, journal, concurrency=1).complete(
            chats("a", "b", "c"), SAMPLING, 0, lambda done, _: kept.append(journal.count() >= done)
        )
    assert kept == [True] * 4


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (says(None), Reply("", "stop")),
        (says(None, refusal="I will not."), Reply("", "refusal")),
        (says("", "content_filter"), Reply("", "content_filter")),
        (says("half a", "length"), Reply("half a", "length")),
        ((200, says("x")[1] | {"choices": []}), Reply("", "no_choice")),
        (refuses(400, "blocked by policy", "content_filter"), Reply("", "content_filter")),
        (refuses(400, "This model's maximum context length is 8 tokens"), Reply("", "too_long")),
        (says("a \ud800 surrogate"), Reply("a ? surrogate", "stop")),
    ],
)
def test_an_answer_without_text_is_a_reply_not_a_crash(journal, answer, reply):
    with serving(lambda _: answer) as (address, requests, _):
        assert teacher_at(address, journal).complete(chats("a"), SAMPLING, 0, quiet) == [reply]
        assert teacher_at(address, journal).complete(chats("a"), SAMPLING, 0, quiet) == [reply]
    assert len(requests) == 1


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_key_is_told_before_anything_is_asked(journal, monkeypatch, value):
    monkeypatch.delenv("TEACHER_KEY") if value is None else monkeypatch.setenv("TEACHER_KEY", value)
    with pytest.raises(PlumblineError, match=r"environment variable TEACHER_KEY.*is not set"):
        teacher_at("http://127.0.0.1:1/v1", journal)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (refuses(401, f"Incorrect API key provided: {SECRET}"), r"127\.0\.0\.1 refused the key in TEACHER_KEY \(HTTP 401\)"),
        (refuses(404, f"no model for {SECRET}\n" + "x" * 999), r"refused model 'big/teacher' \(HTTP 404\): .*\[key\]"),
        ((200, "<html>Welcome</html>"), "something else than a chat completion"),
        ((200, {"error": {"message": "provider down"}}), "something else than a chat completion"),
    ],
)
def test_a_refusal_is_one_sentence_without_the_key(journal, caplog, answer, sentence):
    caplog.set_level(logging.DEBUG)
    with serving(lambda _: answer) as (address, _, _), pytest.raises(PlumblineError, match=sentence) as caught:
        teacher_at(address, journal).complete(chats("a"), SAMPLING, 0, quiet)
    assert SECRET not in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert SECRET not in caplog.text
    assert journal.count() == 0


def test_a_server_that_is_not_there_is_named(journal, monkeypatch):
    monkeypatch.setattr("models.teachers.scheduler.TRIES", 2)
    monkeypatch.setattr("models.teachers.scheduler.FIRST_WAIT", 0.01)
    with serving(echo) as (address, _, _):
        pass
    with pytest.raises(PlumblineError, match=r"127\.0\.0\.1 gave no answer \(APIConnectionError\)"):
        teacher_at(address, journal).complete(chats("a"), SAMPLING, 0, quiet)


def test_a_reply_that_never_ends_is_not_waited_for(journal, monkeypatch):
    monkeypatch.setattr("models.teachers.scheduler.TRIES", 1)
    with dripping() as address, pytest.raises(PlumblineError, match=r"gave no answer within teacher\.timeout \(0\.3 s\)"):
        teacher_at(address, journal, timeout=0.3).complete(chats("a"), SAMPLING, 0, quiet)


def test_prompts_go_to_the_address_that_was_named_and_nowhere_else(journal):
    with serving(echo) as (other, requests, headers):
        for status in (302, 307, 308):
            moved = (status, "", ("location", f"{other}/chat/completions"))
            with serving(lambda _, moved=moved: moved) as (address, _, _), pytest.raises(PlumblineError) as told:
                teacher_at(address, journal).complete(chats("a"), SAMPLING, 0, quiet)
            assert f"sends to another address (http://127.0.0.1, HTTP {status})" in str(told.value)
        assert requests == [] and headers == []


def test_an_answer_without_end_does_not_fill_the_memory(journal, monkeypatch):
    monkeypatch.setattr("models.teachers.http._LARGEST", 5000)
    with serving(lambda _: says("x" * 6000)) as (address, _, _), pytest.raises(PlumblineError, match="something else"):
        teacher_at(address, journal).complete(chats("a"), SAMPLING, 0, quiet)
    with serving(lambda _: says("x" * 4000)) as (address, _, _):
        assert len(teacher_at(address, journal).complete(chats("a"), SAMPLING, 0, quiet)[0].text) == 4000


def test_the_key_and_the_address_are_nowhere_on_disk(journal, tmp_path):
    with serving(echo) as (address, _, _):
        teacher_at(address, journal).complete(chats("a", "b"), SAMPLING, 0, quiet)
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    content = b"".join(p.read_bytes() for p in files)
    assert b"re: a" in content  # the control: this is where the replies are
    assert SECRET.encode() not in content and address.encode() not in content


class ScriptedEngine:
    """Says the prompt's ids back; breaks on the given call. What it was asked stays visible."""

    def __init__(self, checkpoint, breaks_on=0):
        self.tokenizer, self.current, self.calls, self.breaks_on = load_tokenizer(checkpoint.path), None, [], breaks_on
        self.max_model_len = 512

    def use(self, checkpoint):
        self.current = checkpoint

    def generate(self, prompts, sampling, seeds, progress, choices=()):
        self.calls.append((prompts, seeds))
        if len(self.calls) == self.breaks_on:
            raise RuntimeError("out of memory")
        progress(len(prompts), len(prompts))
        return [Completion(decode_answer(self.tokenizer, p), list(p), "stop") for p in prompts]


def test_a_local_teacher_keeps_what_it_had_when_the_engine_breaks(journal, tiny, monkeypatch):
    monkeypatch.setattr("models.teacher._AT_ONCE", 2)
    asked = chats("What is 1 plus 1?", "Add 12 and 31.", "Tell me.", "Say it.", "Repeat.")
    engine, seen = ScriptedEngine(tiny, breaks_on=2), []
    with pytest.raises(RuntimeError):
        local_teacher(lambda: engine, tiny, journal).complete(asked, SAMPLING, 0, quiet)
    assert journal.count() == 2
    again = ScriptedEngine(tiny)
    teacher = local_teacher(lambda: again, tiny, journal)
    replies = teacher.complete(asked, SAMPLING, 0, lambda done, total: seen.append((done, total)))
    assert [ids for prompts, _ in again.calls for ids in prompts] == [encode_prompt(again.tokenizer, c) for c in asked[2:]]
    assert list(dict.fromkeys(seen)) == [(2, 5), (4, 5), (5, 5)]
    assert [r.text for r in replies] == [decode_answer(again.tokenizer, encode_prompt(again.tokenizer, c)) for c in asked]
    assert engine.calls[1][1] == again.calls[0][1]  # the same requests get the same seeds, whatever is asked beside them
    idle = ScriptedEngine(tiny)
    assert local_teacher(lambda: idle, tiny, journal).complete(asked, SAMPLING, 0, quiet) == replies
    assert idle.current is None and idle.calls == []  # nothing was missing, so no weights were swapped


def test_an_answer_that_does_not_fit_beside_its_prompt_has_no_probability(tiny, journal):
    engine = ScriptedEngine(tiny)
    engine.score = lambda prompts, answers: [-float(len(a)) for a in answers]
    given = ("Yes.", "word " * 600, "Yes.", "No.")
    scores = local_teacher(lambda: engine, tiny, journal).score(chats("Short?", "Short?", "word " * 600, "Short?"), given)
    assert [score == float("-inf") for score in scores] == [False, True, True, False] and scores[0] < 0


@pytest.mark.engine
def test_the_local_teacher_answers_from_the_journal_without_a_swap(engine, student, teacher, journal):
    asked = chats("What is 12 plus 31?", "Which number is larger, 23 or 43?")
    greedy = Sampling(temperature=0.0, top_p=1.0, max_tokens=24)
    replies = local_teacher(lambda: engine, teacher, journal).complete(asked, greedy, 0, quiet)
    assert engine.current == teacher and all(r.text and r.finish_reason == "stop" for r in replies)
    engine.use(student)
    assert local_teacher(lambda: engine, teacher, journal).complete(asked, greedy, 0, quiet) == replies
    assert engine.current == student  # nothing was missing, so nothing was swapped
    assert journal.count() == 2


@pytest.mark.engine
def test_the_local_teacher_scores_the_right_answer_above_a_wrong_one(engine, teacher, journal):
    question = chats("What is 12 plus 31?")[0]
    right, wrong = local_teacher(lambda: engine, teacher, journal).score(
        [question, question], ["12 plus 31 is 43.", "12 plus 31 is 47."]
    )
    assert wrong < right < 0


def test_a_local_request_too_long_for_the_engine_is_a_named_reply(tiny, journal):
    engine = ScriptedEngine(tiny)
    short, long = ([{"role": "user", "content": text}] for text in ("Short?", "word " * 600))
    replies = local_teacher(lambda: engine, tiny, journal).complete([short, long, short], SAMPLING, 0, quiet)
    assert [reply.finish_reason for reply in replies] == ["stop", "too_long", "stop"]
    assert replies[1].text == ""
