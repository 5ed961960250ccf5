"""Batches: what a run lacks goes out as a provider's file, what comes back is read with suspicion, and the run goes on."""

import gzip
import json
from dataclasses import asdict

import pytest

from data_contracts.config_teacher import BatchTeacher, Price
from data_contracts.errors import PlumblineError
from models.engine import Sampling, quiet
from models.journal import Journal, Reply, requests_of
from models.teacher import metered
from models.teachers.batch import batch_teacher, read_results, write_requests
from tests.models.chat_server import chats

SAMPLING = Sampling(temperature=0.5, top_p=1.0, max_tokens=20)
CONFIG = BatchTeacher(kind="batch", model="big", price=Price(input=5.0, output=10.0))


def result(key, text="fine", **changes):
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}
    body["usage"] = {"prompt_tokens": 30, "completion_tokens": 20}
    row = {"id": "b", "custom_id": key, "response": {"status_code": 200, "request_id": "r", "body": body}, "error": None}
    return json.dumps(row | changes)


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal.db", "run", CONFIG.price)


@pytest.fixture
def stopped(tmp_path, journal):
    """A run that asked three things, two of them the same, and the lines of its batch file."""
    with pytest.raises(PlumblineError, match=r"3 requests wait for a batch in .*requests-\w+\.jsonl: .*teacher import .*resume"):
        batch_teacher(CONFIG, journal, tmp_path).complete(chats("a", "b", "a"), SAMPLING, 0, quiet)
    (path,) = (tmp_path / "batch").iterdir()
    rows = {row["custom_id"]: row for row in map(json.loads, path.read_text().splitlines())}
    return [rows[request.key] for request in requests_of("big", chats("a", "b", "a"), asdict(SAMPLING), 0)]


def test_the_file_is_in_the_providers_format(stopped, journal):
    assert len({row["custom_id"] for row in stopped}) == 3 == len(journal.wanted("run"))
    for row in stopped:
        assert (row["method"], row["url"]) == ("POST", "/v1/chat/completions")
        body = row["body"]
        assert body.keys() == {"model", "messages", "seed", "temperature", "top_p", "max_tokens"} and body["model"] == "big"
    assert [row["body"]["messages"] for row in stopped] == chats("a", "b", "a")


def test_results_in_any_order_let_the_run_go_on(tmp_path, journal, stopped):
    (tmp_path / "out.jsonl").write_text(
        "\n".join(result(r["custom_id"], f"re {i}") for i, r in reversed(list(enumerate(stopped))))
    )
    assert read_results(tmp_path / "out.jsonl", journal) == {"added": 3, "known": 0}
    asked, usage = metered(batch_teacher(CONFIG, journal, tmp_path))
    replies = asked.complete(chats("a", "b", "a"), SAMPLING, 0, quiet)
    assert [r.text for r in replies] == ["re 0", "re 1", "re 2"]
    assert usage(tmp_path / "revise") == {
        "calls": 3,
        "cached": 0,
        "input_tokens": 90,
        "output_tokens": 60,
        "cost": pytest.approx(3 * 350e-6),
    }
    assert read_results(tmp_path / "out.jsonl", journal) == {"added": 0, "known": 0, "unknown": 3}  # nobody waits any more


def test_what_is_still_missing_goes_into_the_next_file(tmp_path, journal, stopped):
    (tmp_path / "out.jsonl.gz").write_bytes(gzip.compress(result(stopped[0]["custom_id"]).encode()))
    read_results(tmp_path / "out.jsonl.gz", journal)
    with pytest.raises(PlumblineError, match="2 requests wait"):
        batch_teacher(CONFIG, journal, tmp_path).complete(chats("a", "b", "a"), SAMPLING, 0, quiet)
    assert len(list((tmp_path / "batch").iterdir())) == 2


def test_two_runs_that_want_the_same_are_told_and_both_go_on(tmp_path, journal, stopped):
    other = Journal(journal.path, "other run", CONFIG.price)
    with pytest.raises(
        PlumblineError, match=r"2 requests wait .*\(1 of them for other runs, too: .*export-batch \S+journal\.db "
    ):
        batch_teacher(CONFIG, other, tmp_path / "other").complete(chats("b", "c"), SAMPLING, 0, quiet)
    assert len(journal.wanted("run")) == 3 and len(other.wanted("other run")) == 2  # nothing was taken away from the first
    requests = journal.wanted()
    (file,) = write_requests(requests.values(), tmp_path / "all")
    assert len(file.read_text().splitlines()) == 4  # one file for both: each request once
    (tmp_path / "out.jsonl").write_text("\n".join(result(key) for key in requests))
    assert read_results(tmp_path / "out.jsonl", journal)["added"] == 4
    assert len(batch_teacher(CONFIG, other, tmp_path / "other").complete(chats("b", "c"), SAMPLING, 0, quiet)) == 2
    assert (journal.spent()[0], other.spent()[0]) == (200, 0)


def test_every_bad_line_is_counted_and_none_is_kept(tmp_path, journal, stopped):
    key = stopped[0]["custom_id"]
    lines = {
        "not json": "unreadable",
        "[1, 2]": "unreadable",
        '"text"': "unreadable",
        "{}": "unreadable",
        "[" * 100_000: "unreadable",
        result("0123456789abcdef"): "unknown",
        result(["x"]): "unknown",
        result("'; DROP TABLE calls; --"): "unknown",
        result(key, response={"status_code": 200, "body": {"choices": "x"}}): "unreadable",
        result(key, response={"status_code": 200, "body": None}): "unreadable",
        result(key, response={"status_code": 500, "body": {"error": {"message": "down"}}}): "failed: HTTP 500",
        result(key, response=None, error={"code": "batch_expired", "message": "late"}): "failed: batch_expired",
        result(key, response=None, error={"code": "\x1b[2Jx\nforged", "message": ""}): "failed: ??2Jx?forged",
        result(key, error=["odd"]): "failed: HTTP 200",
    }
    (tmp_path / "out.jsonl").write_bytes("\n".join(lines).encode() + b'\n\xff\xfe{"custom_id": 3}\n\n')
    counts = read_results(tmp_path / "out.jsonl", journal)
    expected = {what: list(lines.values()).count(what) for what in lines.values()}
    expected["unreadable"] += 1  # the bytes that are no text
    assert counts == {"added": 0, "known": 0} | expected
    assert journal.count() == 0 and len(journal.wanted()) == 3


def test_a_request_that_the_provider_will_never_answer_is_a_named_reply(tmp_path, journal, stopped):
    errors = [{"code": "content_filter", "message": ""}, {"code": "x", "message": "maximum context length is 9 tokens"}]
    rows = [
        result(r["custom_id"], response={"status_code": 400, "body": {"error": e}}) for r, e in zip(stopped, errors, strict=False)
    ]
    (tmp_path / "out.jsonl").write_text("\n".join([*rows, result(stopped[2]["custom_id"], "\ud800 odd")]))
    assert read_results(tmp_path / "out.jsonl", journal)["added"] == 3
    replies = batch_teacher(CONFIG, journal, tmp_path).complete(chats("a", "b", "a"), SAMPLING, 0, quiet)
    assert replies == [Reply("", "content_filter"), Reply("", "too_long"), Reply("? odd", "stop")]


def test_an_export_is_read_by_another_journal_and_a_forged_one_is_not(tmp_path, journal, stopped):
    journal.store([(request, Reply("said ’so’", "stop", 3, 4)) for request in journal.wanted().values()])
    lines = [json.dumps(call) for call in journal.calls()]
    other = Journal(tmp_path / "other.db", "other run", CONFIG.price)
    (tmp_path / "export.jsonl").write_text("\n".join(lines))
    assert read_results(tmp_path / "export.jsonl", other) == {"added": 3, "known": 0}
    assert read_results(tmp_path / "export.jsonl", other) == {"added": 0, "known": 3}
    assert [c | {"created": ""} for c in other.calls()] == [c | {"created": ""} for c in journal.calls()]
    assert other.spent() == (0, 0.0)  # somebody else paid
    call = json.loads(lines[0])
    forged = [
        call | {"request": call["request"] | {"messages": chats("something else")[0]}},
        call | {"request": call["request"] | {"messages": [{"role": "user", "content": "\ud800"}]}},
        call | {"request": call["request"] | {"messages": "x"}},
        call | {"request": {}},
        call | {"reply": 7},
        {k: v for k, v in call.items() if k != "key"},
    ]
    third = Journal(tmp_path / "third.db")
    (tmp_path / "forged.jsonl").write_text("\n".join(map(json.dumps, forged)))
    assert read_results(tmp_path / "forged.jsonl", third) == {"added": 0, "known": 0, "unreadable": 6}


def test_files_stay_within_what_providers_take(tmp_path, journal, stopped, monkeypatch):
    requests = list(journal.wanted().values())
    size = max(len(json.dumps(row)) for row in stopped) + 1
    for largest in ((2, 10**9), (10**9, 2 * size)):
        monkeypatch.setattr("models.teachers.batch.LARGEST", largest)
        files = write_requests(requests, tmp_path / str(largest[0]))
        assert [len(path.read_text().splitlines()) for path in files] == [2, 1]
        assert write_requests(requests, tmp_path / str(largest[0])) == files  # the same requests, the same names


def test_a_file_that_is_not_there_is_one_sentence(tmp_path, journal):
    with pytest.raises(PlumblineError, match=r"no\.jsonl cannot be read"):
        read_results(tmp_path / "no.jsonl", journal)
