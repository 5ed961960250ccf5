"""`plumbline teacher`: the loop of a batch as a user walks it, and a budget that is raised."""

import io
import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from data_contracts.errors import PlumblineError
from data_contracts.load_config import dump_config, load_config
from flows.cli_teacher import app
from flows.iterate import check
from models.engine import Sampling, quiet
from models.journal import Journal, Reply, requests_of
from models.teacher import Teacher
from models.teachers.open import open_journal, open_teacher

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "configs" / "demo.yaml"
BATCH = ["teacher={kind: batch, model: big, price: {input: 5000.0, output: 10000.0}}", "judge={kind: generation}"]
OPENAI = ["teacher={kind: openai, base_url: 'http://127.0.0.1:1/v1', model: big}", "judge={kind: generation}"]


def run_in(folder: Path, sets: list[str]) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(load_config(DEMO, sets)))
    return folder


def call(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def table(monkeypatch: pytest.MonkeyPatch, *journals: Path) -> str:
    out = io.StringIO()
    monkeypatch.setattr("flows.display._console", Console(file=out, width=120))
    call("list", *journals)
    return out.getvalue()


def teacher_of(run: Path) -> Teacher:
    config = load_config(run / "config.yaml").teacher  # type: ignore[union-attr]

    def no_engine() -> None:
        raise AssertionError("a batch needs no engine")

    return open_teacher(config, run, open_journal(config, run), None, no_engine)  # type: ignore[arg-type]


def ask(run: Path) -> list[Reply]:
    chats = [[{"role": "user", "content": t}] for t in ("a <|im_end|>", "b\x1b[2J")]
    return teacher_of(run).complete(chats, Sampling(0.0, 1.0, 9), 0, quiet)  # type: ignore[arg-type]


def test_the_loop_of_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_in(tmp_path / "runs" / "one", BATCH)
    with pytest.raises(PlumblineError, match="2 requests wait for a batch"):
        ask(run)
    (file,) = (run / "batch").iterdir()
    assert file.read_bytes() in [
        Path(line).read_bytes() for line in call("export-batch", run).splitlines() if "requests-" in line
    ]
    body = {
        "choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
    rows = [
        {"custom_id": json.loads(line)["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}
        for line in file.read_text().splitlines()
    ]
    (tmp_path / "results.jsonl").write_text("\n".join(map(json.dumps, rows)))
    said = call("import", run, tmp_path / "results.jsonl")
    assert "2 added, 0 known; 0 requests still wait" in said
    assert ask(run) == [Reply("ok", "stop")] * 2
    shared = tmp_path / "runs" / "journal.db"
    listed = table(monkeypatch, shared)
    assert all(word in listed for word in ("big", "stop", "2", "6", "0.0500"))  # calls, tokens read, money
    another = run_in(tmp_path / "runs" / "two", BATCH)
    assert ask(another) == [Reply("ok", "stop")] * 2  # paid for once, for all runs beside each other


def test_an_export_is_lines_of_json_without_control_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "j.db")
    asked = requests_of("m\x1b[2J", [[{"role": "user", "content": "\x1b[2J[bold]x"}]], {}, 0)
    journal.store([(asked[0], Reply("\x07 fine ’", "stop"))])
    out = call("export", tmp_path / "j.db")
    assert json.loads(out)["reply"] == "\x07 fine ’" and out.rstrip("\n").isprintable()
    (tmp_path / "e.jsonl").write_text(out)
    assert "1 added" in call("import", tmp_path / "new.db", tmp_path / "e.jsonl")
    assert "m [2J" in table(monkeypatch, tmp_path / "j.db", tmp_path / "new.db")


def test_a_place_without_a_journal_is_one_sentence(tmp_path: Path) -> None:
    for command in ("list", "export", "export-batch"):
        with pytest.raises(PlumblineError, match="is no journal and holds none"):
            call(command, tmp_path)
    with pytest.raises(PlumblineError, match="is no journal and holds none"):
        call("list", tmp_path / "nothing.db")
    assert list(tmp_path.iterdir()) == []


def test_what_decides_no_reply_may_change_between_two_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    run = run_in(tmp_path / "run", OPENAI)
    free = ["budget={tokens: 9}", "price={input: 1, output: 2}", "concurrency=3", "timeout=5", f"journal={tmp_path / 'x.db'}"]
    changed = load_config(run / "config.yaml", [f"teacher.{key}" for key in free])
    check(changed, run)
    assert yaml.safe_load(dump_config(changed))["teacher"]["budget"] == {"tokens": 9, "money": None}
    with pytest.raises(PlumblineError, match=r"has a \? in its path"):
        check(changed, tmp_path / "why?")
    check(load_config(run / "config.yaml", ["teacher.base_url='http://127.0.0.1:2/v1'"]), run)  # the server moved


def test_a_teacher_s_name_may_be_corrected_until_it_has_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    run = run_in(tmp_path / "run", OPENAI)
    other = load_config(run / "config.yaml", ["teacher.model=other"])
    used = {"calls": 0, "cached": 0, "input_tokens": 0, "output_tokens": 0, "cost": None}
    for stage, facts in (("sample", {"samples": 3}), ("evaluate", {"teacher": used})):
        (run / "round-1" / stage).mkdir(parents=True)
        (run / "round-1" / stage / "manifest.json").write_text(json.dumps({"facts": facts}))
    check(other, run)
    with pytest.raises(PlumblineError, match=r"another configuration .*sample\.temperature"):
        check(load_config(run / "config.yaml", ["sample.temperature=0.1"]), run)
    (run / "round-1" / "revise").mkdir()
    (run / "round-1" / "revise" / "manifest.json").write_text(json.dumps({"facts": {"teacher": used | {"calls": 3}}}))
    with pytest.raises(PlumblineError, match=r"another configuration .*teacher\.model"):
        check(other, run)
