"""What Prefect is given to show: hostile text stays quoted, tables hold no row's text, progress does not flood."""

import json
import sys
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from prefect.artifacts import Artifact
from rich.console import Console

from flows import display, story
from flows.pace import Pace
from tasks.changes import Change


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float | None, dict[str, Any]]]:
    """Every artifact that would be sent, in order: whether it is made or changed, how far a bar is, and what it says."""
    sent: list[tuple[str, float | None, dict[str, Any]]] = []

    def send(_: Path, artifact: Artifact, made: list[UUID] | None = None) -> None:
        sent.append(("changed" if made else "made", getattr(artifact, "progress", None), artifact.model_dump()))
        if made is not None:
            made.append(UUID(int=0))

    monkeypatch.setattr(story, "send", send)
    here = SimpleNamespace(folder=Path("runs/demo"), config=SimpleNamespace(name="demo"))
    monkeypatch.setattr(story, "current", lambda: here)
    return sent


def test_a_failure_quotes_what_files_and_servers_wrote(shown: list[Any]) -> None:
    error = ValueError("row <img src=x onerror=alert(1)>\n\n# big")
    story.failure(error, Path("runs/a b"))
    text = shown[0][2]["markdown"]
    assert "<img" not in text
    assert "&lt;img" in text
    assert "\n# big" not in text  # a heading of its own would be ours
    assert "plumbline resume" in text


def test_retry_is_offered_where_somebody_serves_it(shown: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    story.failure(ValueError("no"), Path("runs/demo"))
    monkeypatch.setattr(story, "runtime", SimpleNamespace(deployment=SimpleNamespace(id="of a deployment")))
    story.failure(ValueError("no"), Path("runs/demo"))
    assert ["Retry" in given[2]["markdown"] for given in shown] == [False, True]


def test_what_was_changed_is_a_table_and_nothing_is_none(shown: list[Any]) -> None:
    story.changes("changed on the command line", [])
    assert shown == []
    story.changes("changed on the command line", [Change("align.epochs", "4", "2"), Change("seed", None, "3")])
    given = shown[0][2]
    assert given["key"] == "demo-changed-on-the-command-line"
    assert given["table"] == [
        {"key": "align.epochs", "in the file": "4", "here": "2"},
        {"key": "seed", "in the file": "", "here": "3"},
    ]


def test_a_gate_is_a_table_of_contracts_without_row_ids(shown: list[Any], tmp_path: Path) -> None:
    story.gate("round 1: validate pairs", tmp_path)
    assert shown == []  # no gate, no table
    row = {"contract": "no_echo", "why": "an echo teaches nothing", "level": "row", "kept": False, "checked": 9, "broken": 2}
    whole = {"contract": "enough", "why": "too few", "level": "dataset", "kept": True, "checked": 9, "observed": 7.0}
    found = {"checked": 9, "kept": 7, "quarantined": 2, "contracts": [row | {"examples": ["<b>id</b>"]}, whole]}
    (tmp_path / "gate.json").write_text(json.dumps(found))
    story.gate("round 1: validate pairs", tmp_path)
    given = shown[0][2]
    assert given["key"] == "demo-round-1-validate-pairs-gate"
    assert given["description"] == "round 1: validate pairs: 7 of 9 rows kept, 2 quarantined"
    assert [(r["contract"], r["holds"], r["broken rows"], r["measured"]) for r in given["table"]] == [
        ("no_echo", "no", 2, ""),
        ("enough", "yes", "", 7.0),
    ]
    assert "<b>" not in str(given)


def test_progress_is_told_now_and_then_and_at_the_end(shown: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    clock, bar = [100.0], list[tuple[int, int]]()
    monkeypatch.setattr(story.time, "monotonic", lambda: clock[0])
    report = story.progress("round 1: sample", lambda done, total, _: bar.append((done, total)))
    for done in range(1, 101):
        clock[0] += 0.1  # ten seconds in all
        report(done, 100)
    assert len(bar) == 100  # the terminal's bar sees everything
    assert [name for name, *_ in shown] == ["made", "changed", "changed", "changed"]
    assert shown[-1][1] == 100.0


def test_a_short_stage_is_told_once_when_it_is_done(shown: list[Any]) -> None:
    report = story.progress("round 1: sample", lambda *at: None)
    for done in range(1, 101):
        report(done, 100)
    ((name, at, _),) = shown
    assert (name, at) == ("made", 100.0)


def test_progress_says_how_far_how_fast_and_how_long_still(shown: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    clock, bar = [0.0], list[tuple[Any, ...]]()
    monkeypatch.setattr(story.time, "monotonic", lambda: clock[0])
    report = story.progress("round 1: align", lambda *at: bar.append(at))
    for step in (41, 42, 60, 100):  # an earlier attempt did the first 40
        clock[0] += 10 if step < 60 else 90
        report(step, 100, 12345.6)
    said = [given["description"].removeprefix("round 1: align: ") for _, _, given in shown]
    assert said == [
        "41 of 100, 12,346 tokens/s",
        "42 of 100, 12,346 tokens/s, 9:40 left",
        "60 of 100, 12,346 tokens/s, 3:31 left",
        "100 of 100, 12,346 tokens/s",
    ]
    assert bar[1] == (42, 100, 12345.6)
    assert Pace().words(1, 2) == "1 of 2"


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_shows_tokens_a_second_where_training_tells_them(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    out = Console(file=StringIO(), force_terminal=terminal, width=120)
    monkeypatch.setattr(display, "_console", out)
    clock = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: clock[0])
    with display.working("align") as report:
        for step, rate in ((1, None), (7, 12345.6)):
            clock[0] += 6
            report(step, 9, rate)
    assert isinstance(out.file, StringIO)
    said = out.file.getvalue()  # a bar is drawn a last time before it goes
    assert ("7 of 9" in said) if terminal else ("align  7 of 9, 12,346 tokens/s, 0:02 left" in said)
    assert said.count("12,346 tokens/s") >= 1 and "None" not in said


@pytest.mark.parametrize("width", [80, 120])
def test_the_bar_cuts_nothing_off_and_counts_only_what_it_knows(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    out = Console(file=StringIO(), force_terminal=True, width=width, no_color=True)
    monkeypatch.setattr(display, "_console", out)
    with display.working("round 10: preference metrics") as report:
        for done in (1000, 2568):
            report(done, 2568, 4723.0)
    assert isinstance(out.file, StringIO)
    said = out.file.getvalue()
    assert "2,568 of 2,568" in said and "4,723 tokens/s" in said and "…" not in said and "?" not in said.replace("[?25", "")


def test_what_libraries_print_is_not_shown_above_the_bar(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out = Console(file=StringIO(), force_terminal=True, width=120)
    monkeypatch.setattr(display, "_console", out)
    with display.working("align"):
        print("Loading weights", file=sys.stderr)
        print("Loading more")
    assert isinstance(out.file, StringIO)
    assert "Loading" not in out.file.getvalue() and "align" in out.file.getvalue()
    assert "Loading weights" in capfd.readouterr().err  # where quiet_libraries puts it into the log


def test_a_stages_table_is_short_and_leaves_contracts_to_the_gates_table(shown: list[Any]) -> None:
    story.table(
        "round 1: pair", {"rows": 12345, "speed": 3781.2788, "contracts": {"answers_differ": 0}, "rates": {"win": 0.70444}}
    )
    told = {row["what"]: row["value"] for row in shown[0][2]["table"]}
    assert told == {"rows": 12345, "speed": 3781.0, "rates.win": 0.7044}
