"""`plumbline judge` as a user gives it, with a teacher behind a real little server."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data_contracts.errors import BusyError
from flows.cli import app
from flows.lock import locked
from tests.models.chat_server import says, serving

DEMO = Path(__file__).resolve().parents[2] / "configs" / "demo.yaml"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TEACHER_KEY", "any")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)


def call(address: str, judge: str, *arguments: str) -> str:
    teacher = f"teacher={{kind: openai, base_url: '{address}', model: big, api_key_env: TEACHER_KEY}}"
    sets = ["--set", teacher, "--set", f"judge={{{judge}}}", "--out", "out"]
    done = CliRunner().invoke(app, ["judge", *arguments, *sets], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_answers_in_a_file_get_scores_and_ranks(tmp_path: Path) -> None:
    rows = [("p", "bb"), ("q", "a"), ("p", "dddd"), ("p", "no idea")]
    (tmp_path / "answers.jsonl").write_text("\n".join(json.dumps({"prompt": p, "answer": a}) for p, a in rows))

    def scores(request):
        answer = request["messages"][0]["content"].split("{given_answer}: ")[1].split("\n")[0]
        return says("Hm." if answer == "no idea" else f"{{final_score}}: {len(answer)}")

    with serving(scores) as (address, requests, _):
        said = call(address, "kind: pointwise", "rate", str(DEMO), "answers.jsonl")
        assert call(address, "kind: pointwise", "rate", str(DEMO), "answers.jsonl") == said and len(requests) == 4
    assert "4 answers to 2 prompts, mean score 2.333, 1 without a score" in said
    told = [json.loads(line) for line in (tmp_path / "out" / "scores.jsonl").read_text().splitlines()]
    assert [(t["prompt"][0]["content"], t["answer"]) for t in told] == rows
    assert [(t["score"], t["rank"]) for t in told] == [(2.0, 2), (1.0, 1), (4.0, 1), (None, None)]


def test_two_commands_do_not_write_to_one_folder(tmp_path: Path) -> None:
    (tmp_path / "record.jsonl").write_text('{"prompt": "p", "first": "a", "second": "b", "first_wins": 1}\n')
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out"), pytest.raises(BusyError, match=r"another process .* is working on out: wait for it"):
        call("http://127.0.0.1:9/v1", "kind: generation", "calibrate", str(DEMO), "--recorded", "record.jsonl")


def test_a_judge_is_held_against_a_record(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i}", "first": "x" * (i + 2), "second": "xx", "first_wins": "first"} for i in range(1, 9)]
    (tmp_path / "record.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with serving(lambda _: says("{preferred}: A")) as (address, requests, _):
        said = call(address, "kind: generation", "calibrate", str(DEMO), "--recorded", "record.jsonl", "--limit", "6")
    assert len(requests) == 12 and "prefers the answer shown first" in said
    found = {judge["judge"]: judge for judge in json.loads((tmp_path / "out" / "calibration.json").read_text())["judges"]}
    assert found["pairwise-1/big"]["figures"]["accuracy"]["mean"] == 0.5 and found["length"]["figures"]["accuracy"]["mean"] == 1.0


@pytest.mark.engine
def test_a_local_judge_starts_its_engine_for_what_is_not_answered_yet(
    tmp_path: Path, engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = list[str]()

    def start(checkpoint, *_):
        started.append(checkpoint.hash)
        return engine

    monkeypatch.setattr("models.engine_replicas.open_engine", start)
    monkeypatch.setattr(engine, "close", lambda: None)  # it is everybody's

    def rate(*answers: str) -> str:
        rows = [{"prompt": "What is 12 plus 31?", "answer": answer} for answer in answers]
        (tmp_path / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)))
        shutil.rmtree(tmp_path / "out" / "answers", ignore_errors=True)
        shutil.rmtree(tmp_path / "out" / "scores", ignore_errors=True)  # so that the judge is asked again
        judge = ["--set", "judge={kind: pointwise, verdict: choice}"]
        done = CliRunner().invoke(
            app, ["judge", "rate", str(DEMO), "answers.jsonl", "--out", "out", *judge], catch_exceptions=False
        )
        assert done.exit_code == 0, done.output
        return done.output

    said = rate("12 plus 31 is 43.", "12 plus 31 is 47.")
    assert len(started) == 1
    assert rate("12 plus 31 is 43.", "12 plus 31 is 47.").splitlines()[-2:] == said.splitlines()[-2:] and len(started) == 1
    rate("12 plus 31 is 43.", "12 plus 31 is 47.", "It is 43.")
    assert len(started) == 2
