"""What a run has done so far, read from its folder's manifests alone: the final table and the state of every stage.

Nothing heavy is imported and no data file is opened, so asking costs nothing while the run goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from data_contracts.errors import PlumblineError
from data_contracts.load_config import read_yaml
from data_contracts.store import load_json
from tasks.run_folder import round_name, rounds_with
from tasks.serving import stages as data_stages

Manifest = dict[str, Any]
Score = dict[str, float]  # mean, low, high

HUMAN_STAGES = ("import", "validate_pairs", "train", "held_out", "rank_before", "align", "rank_after")
RANKINGS = {"ranking accuracy": "accuracy", "per token": "accuracy_per_token"}  # column: name in the rankings' facts
_BROKEN = {  # where a narrow terminal may break a heading
    "multiple-choice": "multiple-\nchoice",
    "overall": "overall\n(95 % interval)",
    "win rate against previous": "win rate\nvs previous",
    "pairs kept / quarantined": "pairs kept /\nquarantined",
}
MISSING = "\u2013"  # an en dash: not there


@dataclass(frozen=True)
class Row:
    """One line of the final table. `scores` maps a split (or "ranking accuracy") to its interval; None is "not there yet"."""

    label: str
    scores: dict[str, Score]
    win_rate: Score | None
    kept: int | None
    quarantined: int | None
    promoted: bool | None
    seconds: float | None


@dataclass(frozen=True)
class StageState:
    place: str  # "round-1/sample"
    state: str  # "finished", "next" or "waiting"
    rows: int | None
    seconds: float | None


def read_config(run: Path) -> dict[str, Any]:
    """The resolved configuration saved with the run. Raises PlumblineError if the folder holds no run."""
    path = run / "config.yaml"
    if not path.is_file():
        if (run / "sweep.yaml").is_file():
            raise PlumblineError(f"{run} holds a sweep: name one of its runs in {run / 'cells'}, or run plumbline sweep again")
        raise PlumblineError(f"{run} holds no run (no config.yaml): name the folder of a run, for example runs/demo")
    return read_yaml(path)


def manifest(folder: Path) -> Manifest | None:
    """The manifest of a finished stage, or None."""
    found: Manifest | None = load_json(folder / "manifest.json")
    return found


def places(run: Path) -> list[str]:
    """Every stage the run will go through, in order, as a path inside its folder."""
    config = read_config(run)
    if config["flow"] == "human_pairs":
        return list(HUMAN_STAGES)
    data = data_stages(config)
    folders = {k: run / f"round-{k}" for k in range(1, config["rounds"] + 1)}
    rounds = [f"round-{k}/{stage}" for k, folder in folders.items() for stage in (*data, *_after_pairs(config, folder))]
    start = ["round-0/harness"] if config["evaluate"].get("harness") else []
    return ["round-0/evaluate", *start, *rounds]


def _after_pairs(config: Manifest, round_: Path) -> tuple[str, ...]:
    """The stages of a round from its clean data on; a run that began before one existed goes on without it."""
    metrics, others = config.get("preference_metrics"), config.get("win_rate", {}).get("against", [])
    held_out = ("train", "held_out") if metrics and metrics["held_out"] else ()
    harness = ("harness",) if config["evaluate"].get("harness") else ()
    rates = [f"win_rate_{other if isinstance(other, str) else other['name']}" for other in others]
    return (
        *held_out,
        "align",
        "evaluate",
        *(f"evaluate_epoch-{epoch}" for epoch in _kept_epochs(config, round_)),
        *harness,
        "win_rate",
        *rates,
        *(("preference_metrics",) if metrics else ()),
        "promote",
    )


def _kept_epochs(config: Manifest, round_: Path) -> list[int]:
    """The epochs but the last whose models are measured too: as training left them, until then as they are configured."""
    if config["align"].get("checkpoints") != "epochs":
        return []
    if (round_ / "align").exists():  # an early stop, or other epochs in this round, leave other models
        return sorted(int(kept.name.removeprefix("epoch-")) for kept in (round_ / "align" / "epochs").glob("epoch-*"))
    return list(range(1, config["align"]["epochs"]))


def status(run: Path) -> list[StageState]:
    """The state of every stage: finished with its rows and seconds, next, or waiting."""
    states: list[StageState] = []
    for place in places(run):
        found = manifest(run / place)
        if found:
            states.append(StageState(place, "finished", found["rows"], found["seconds"]))
        elif place.endswith("/promote") and (run / place).with_name("decision.json").exists():
            states.append(StageState(place, "finished", None, None))
        else:
            is_next = all(state.state == "finished" for state in states)
            states.append(StageState(place, "next" if is_next else "waiting", None, None))
    return states


def is_finished(run: Path) -> bool:
    """Every stage is done, and the report was written since: one from before the latest round, or from when the run had stopped,
    would tell nothing of it."""
    report = run / "report.html"
    if not report.exists():
        return False
    ends = [run / f"round-{number}" / "decision.json" for number in rounds_with(run, "decision.json")]
    ends += [run / HUMAN_STAGES[-1] / "manifest.json"]
    if any(path.exists() and path.stat().st_mtime_ns > report.stat().st_mtime_ns for path in ends):
        return False
    return all(state.state == "finished" for state in status(run))


def is_round_finished(run: Path, number: int) -> bool:
    """Every stage of the round is there, and so is its decision."""
    return all(state.state == "finished" for state in status(run) if state.place.startswith(f"round-{number}/"))


def finished_rounds(run: Path) -> int:
    """How many rounds are finished before the first that is not. 0 where there is no run yet."""
    if not (run / "config.yaml").is_file():
        return 0
    rounds = range(1, read_config(run)["rounds"] + 1)
    return next((number - 1 for number in rounds if not is_round_finished(run, number)), len(rounds))


def collect(run: Path) -> list[Row]:
    """The rows of the final table: start and one a round, or before and after for a run on human pairs."""
    config = read_config(run)
    if config["flow"] == "human_pairs":
        return _human_rows(run)
    start = manifest(run / "round-0" / "evaluate")
    rows = [Row(round_name(0), _scores(start), None, None, None, None, start["seconds"] if start else None)]
    data = data_stages(config)
    for k in range(1, config["rounds"] + 1):
        folder = run / f"round-{k}"
        stages = (*data, *_after_pairs(config, folder))
        win, decision = manifest(folder / "win_rate"), load_json(folder / "decision.json")
        kept, quarantined = gate_counts(folder / ("validate_lists" if "validate_lists" in stages else "validate_pairs"))
        rows.append(
            Row(
                round_name(k),
                _scores(manifest(folder / "evaluate")),
                {"mean": win["facts"]["win_rate"], "low": win["facts"]["low"], "high": win["facts"]["high"]} if win else None,
                kept,
                quarantined,
                decision["promoted"] if decision else None,
                _seconds(folder, stages),
            )
        )
    return rows


def gate_counts(folder: Path) -> tuple[int | None, int | None]:
    """(rows kept, rows quarantined) by the gate whose output lies in `folder`."""
    found = manifest(folder)
    if not found:
        return None, None
    source = manifest(folder / found["parents"][0]["folder"])
    return found["rows"], source["rows"] - found["rows"] if source else None


def _human_rows(run: Path) -> list[Row]:
    kept, quarantined = gate_counts(run / "validate_pairs")
    rows = []
    for label, stage in (("before", "rank_before"), ("after", "rank_after")):
        found = manifest(run / stage)
        scores = {column: found["facts"][name] for column, name in RANKINGS.items()} if found and found["rows"] else {}
        counts = (kept, quarantined, None, _seconds(run, HUMAN_STAGES)) if label == "after" else (None, None, None, None)
        rows.append(Row(label, scores, None, *counts))
    return rows


def _scores(found: Manifest | None) -> dict[str, Score]:
    return found["facts"]["metrics"] if found else {}


def _seconds(folder: Path, stages: Sequence[str]) -> float | None:
    seconds = [found["seconds"] for stage in stages if (found := manifest(folder / stage))]
    return sum(seconds) if seconds else None


def header(rows: Sequence[Row]) -> list[str]:
    if any(row.label == "before" for row in rows):
        return ["", *RANKINGS, "pairs kept / quarantined", "seconds"]
    splits = ["free-form", "multiple-choice", "overall"]
    return ["", *splits, "win rate against previous", "pairs kept / quarantined", "decision", "seconds"]


def cells(rows: Sequence[Row]) -> list[list[str]]:
    """The table as text, one list a row, in the order of `header`."""
    names, table = header(rows), []
    for row in rows:
        values = {
            "": row.label,
            "free-form": _text(row.scores.get("free-form"), interval=False),
            "multiple-choice": _text(row.scores.get("multiple-choice"), interval=False),
            "overall": _text(row.scores.get("overall")),
            **{name: _text(row.scores.get(name)) for name in RANKINGS},
            "win rate against previous": _text(row.win_rate, interval=False),
            "pairs kept / quarantined": MISSING if row.kept is None else f"{row.kept} / {_or_missing(row.quarantined)}",
            "decision": {None: MISSING, True: "promoted", False: "rolled back"}[row.promoted],
            "seconds": MISSING if row.seconds is None else f"{row.seconds:.0f}",
        }
        table.append([values[name] for name in names])
    return table


def render(rows: Sequence[Row], title: str = "", note: str | None = None) -> Table:
    """The table for a terminal, with a note of ours below it."""
    table = Table(
        title=title or None, title_justify="left", caption=note, caption_justify="left", box=SIMPLE_HEAD, padding=(0, 1)
    )
    for name in header(rows):
        table.add_column(_BROKEN.get(name, name), justify="left" if name in ("", "decision") else "right")
    for row in cells(rows):
        table.add_row(*row)
    return table


def markdown(rows: Sequence[Row]) -> str:
    """The table in Markdown. Every cell is a label or a number of ours: no model text."""
    names = header(rows)
    lines = [names, ["---", *["---:"] * (len(names) - 1)], *cells(rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def render_status(states: Sequence[StageState]) -> Table:
    """Every stage on a line."""
    table = Table()
    for name in ("stage", "state", "rows", "seconds"):
        table.add_column(name, justify="right" if name in ("rows", "seconds") else "left")
    for state in states:
        table.add_row(state.place, state.state, _or_missing(state.rows), "" if state.seconds is None else f"{state.seconds:.1f}")
    return table


def _or_missing(value: int | None) -> str:
    return MISSING if value is None else str(value)


def _text(score: Score | None, interval: bool = True) -> str:
    if score is None:
        return MISSING
    return f"{score['mean']:.3f}" + (f" ({score['low']:.3f}–{score['high']:.3f})" if interval else "")
