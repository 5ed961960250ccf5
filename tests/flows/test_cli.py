"""The command line as a whole: what it shows of itself, and where it refuses to write."""

import errno
import io
import os
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer.main
from prefect.exceptions import TerminationSignal
from typer.testing import CliRunner

from data_contracts.errors import PlumblineError
from data_contracts.store import build
from flows.cli import PANELS, app, main
from flows.cli import _show as show
from flows.lock import locked
from tasks import lineage
from tasks.failure import SILENT, write_failure
from tests.tasks.run_folder import make_run

EMBEDDED = Path(__file__).resolve().parents[2] / "models" / "embedded"


def commands(group: Any) -> list[Any]:
    below = getattr(group, "commands", {}).values()
    return [*below, *(command for inner in below for command in commands(inner))]


def test_each_command_is_told_in_one_line_that_fits() -> None:
    for command in commands(typer.main.get_command(app)):
        first = command.help.split("\n\n")[0]
        assert first.endswith(".") and first[0].isupper() and ". " not in first and len(first) <= 80, f"{command.name}: {first}"
        for parameter in command.params:
            assert parameter.name == "help" or parameter.help, f"{command.name}: {parameter.name} is not explained"


def test_help_names_arguments_as_the_documentation_does() -> None:
    assert " [OPTIONS] CONFIG " in CliRunner().invoke(app, ["run", "--help"]).output
    for words in (
        ["status"],
        ["validate"],
        ["teacher", "import"],
        ["judge", "rate"],
        ["objectives", "show"],
        ["rubric", "derive"],
    ):
        usage = CliRunner().invoke(app, [*words, "--help"]).output.split("[OPTIONS]")[1].split("\n")[0]
        assert usage.strip() and usage == usage.upper() and not set("{}") & set(usage), f"{words}: {usage}"


def test_help_shows_the_panels_in_their_order() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"}).output
    places = [shown.index(f"─ {panel} ─") for panel in PANELS]
    assert places == sorted(places)
    assert "─ Commands ─" not in shown  # nobody stands outside


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["inspect", "pairs.jsonl", "--out", "{file}/page.html"], "is a file: name another place"),
        (["inspect", "pairs.jsonl", "--out", "{folder}"], "is a folder: name a file"),
        (["objectives", "show", "dpo", "--plot", "{file}/loss.png"], "is a file: name another place"),
        (["validate", "pairs", "pairs.jsonl", "--model", "m", "--out", "{file}"], "is a file: name a folder"),
        (["run", "configs/demo.yaml", "--run-dir", "{file}/run"], "is a file: name another place"),
        (["up", "--folder", "{file}"], "is a file: name a folder"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "file").touch()
    given = [part.format(file=tmp_path / "file", folder=tmp_path) for part in arguments]
    error = CliRunner().invoke(app, given).exception
    assert isinstance(error, PlumblineError)
    assert said in str(error)


def test_a_terminal_that_cannot_show_a_character_gets_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Latin-1 terminal knows no dash of this kind, and no encoding knows a file's name that is no text."""
    shown = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setattr(sys, "argv", ["plumbline", "objectives"])
    with pytest.raises(SystemExit) as done:
        main()
    shown.flush()
    assert done.value.code == 0 and b"apo_zero" in shown.buffer.getvalue()
    missing = os.fsdecode(os.fsencode(tmp_path) + b"/no-\xff-text")
    told = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stderr", told)
    monkeypatch.setattr(sys, "argv", ["plumbline", "status", missing])
    with pytest.raises(SystemExit) as done:
        main()
    told.flush()
    assert done.value.code == 2 and b"holds no run" in told.buffer.getvalue()


@pytest.mark.parametrize(
    "given", [["run", "a" * 300 + ".yaml"], ["run", "configs/demo.yaml", "--run-dir", "a" * 300], ["status", "a" * 300]]
)
def test_a_path_that_is_longer_than_any_may_be_is_one_sentence(
    given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["plumbline", *given])
    with pytest.raises(SystemExit) as done:
        main()
    told = capsys.readouterr().err
    assert done.value.code == 2 and told.startswith("error: aaa") and told.count("\n") == 1 and len(told) < 200


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (TerminationSignal(15), 143, "stopped from outside"),
        (
            httpx.ConnectError("refused", request=httpx.Request("POST", "http://me:hidden@127.0.0.1:9/api/flow_runs/")),
            2,
            "127.0.0.1:9",
        ),
    ],
)
def test_what_prefect_throws_when_a_run_is_stopped_or_its_server_gone_is_one_sentence(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped() -> None:
        raise error

    monkeypatch.setattr("flows.cli.app", stopped)
    with pytest.raises(SystemExit) as done:
        main()
    told = capsys.readouterr().err
    assert done.value.code == code and said in told and told.count("\n") == 1 and "hidden" not in told
    monkeypatch.setattr("flows.cli.app", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # a bug keeps its traceback
        main()


def test_the_password_of_a_named_server_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "https://me:secret@prefect.example/api")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.example")
    show(make_run(tmp_path / "run"))
    assert (shown := capsys.readouterr().out).count(".example") == 2 and "secret" not in shown


def test_one_training_takes_a_second_reference_and_no_momentum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = build(tmp_path / "pairs", "pairs", {}, lambda _: ([], {})).folder
    given = ["align", "configs/demo.yaml", str(data), str(tmp_path / "out"), "--set"]

    def stopped(*arguments: Any) -> None:
        raise PlumblineError(f"second: {arguments[8].path.name if arguments[8] else arguments[8]}")

    monkeypatch.setattr("tasks.align.align", stopped)
    teacher = f"align.second_reference={EMBEDDED / 'teacher'}"
    for setting, said in (("align.momentum=0.3", "momentum"), (teacher, "second: teacher"), ("seed=1", "second: None")):
        error = CliRunner().invoke(app, [*given, setting]).exception
        assert isinstance(error, PlumblineError) and said in str(error)


def test_folders_on_the_way_to_a_page_are_made(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"prompt": "how many", "chosen": "two", "rejected": "three"}\n')
    page = tmp_path / "not" / "yet" / "page.html"
    done = CliRunner().invoke(app, ["inspect", str(pairs), "--model", str(EMBEDDED / "student"), "--out", str(page)])
    assert done.exit_code == 0, done.output
    assert page.is_file()


@pytest.mark.parametrize(
    ("stop", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "stopped; run the same command again to resume"),
        (PlumblineError("no such thing"), 2, "error: no such thing"),
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/x"),
            2,
            "error: runs/x could not be read or written (No space left",
        ),
    ],
)
def test_whatever_stops_a_command_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stop: BaseException, status: int, said: str
) -> None:
    def console() -> None:
        raise stop

    monkeypatch.setattr("flows.display.console", console)
    monkeypatch.setattr("sys.argv", ["plumbline", "objectives"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == status
    assert capsys.readouterr().err.strip().startswith(said)


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def console() -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr("flows.display.console", console)
    monkeypatch.setattr("sys.argv", ["plumbline", "objectives"])
    with pytest.raises(OSError, match="Bad file"):
        main()


def test_status_says_whether_a_run_works_has_stopped_or_is_finished(tmp_path: Path) -> None:
    def said(run: Path) -> str:
        shown = CliRunner().invoke(app, ["status", str(run)])
        assert shown.exit_code == 0, shown.output
        return shown.output.splitlines()[-1]

    run = make_run(tmp_path / "run", until="pair")
    assert said(run) == f"state: stopped ({SILENT}): plumbline resume {run} goes on"
    with locked(run):
        assert said(run) == f"state: pid {os.getpid()} works on it"
    write_failure(run, "the gate \x1b[2J refused")
    assert said(run) == f"state: stopped (the gate  [2J refused): plumbline resume {run} goes on"
    done = make_run(tmp_path / "done")
    (done / "report.html").touch()
    assert said(done) == "state: finished"


def test_the_reason_of_a_rollback_gives_a_terminal_no_orders(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    lineage.roll_back(run, None, "worse\x1b]0;mine\x07\nstate: finished")
    shown = CliRunner().invoke(app, ["status", str(run)]).output
    assert "worse ]0;mine  state: finished\n" in shown and "\x1b" not in shown and "\x07" not in shown
