"""What a sweep has found so far, read from its cells' folders: one row a cell, and means over the seeds.

A cell that keeps each epoch's model (align.checkpoints: epochs) is measured at every epoch; the maximum and the mean over these
checkpoints are the two figures that the CLAIR paper reports. The maximum of several noisy measurements is optimistic; the last
checkpoint's score is there beside it.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_contracts.config_sweep import SEED, Grid, Place
from tasks.failure import read_failure
from tasks.summary import Manifest, manifest, read_config

CONTRAST = ("token_jaccard", "character_edits", "length_ratio")  # of a round's pairs, as the gate measured them


@dataclass(frozen=True)
class Result:
    """`state` is "finished", "failed" or "waiting"; `checkpoints` the scores of the models that were kept, in order: none where
    a preference file left no whole pair to rank."""

    label: str
    point: dict[str, str]
    state: str
    failure: str = ""
    start: float | None = None
    checkpoints: list[float] = field(default_factory=list)
    low: float | None = None  # the last checkpoint's 95 % interval
    high: float | None = None
    win_rate: float | None = None
    pairs: int | None = None
    contrast: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0  # of all stages, those of shared datasets included
    verdict: str = ""
    measure: str = "overall score"  # what a score is

    @property
    def figures(self) -> dict[str, float]:
        """The numbers of a finished cell by name."""
        if self.state != "finished":
            return {}
        found: dict[str, float] = {}
        if self.checkpoints and self.start is not None and self.low is not None and self.high is not None:
            found |= {"start": self.start, "max": max(self.checkpoints), "mean": statistics.mean(self.checkpoints)}
            found |= {"last": self.checkpoints[-1], "low": self.low, "high": self.high}
        extra = {"win_rate": self.win_rate, "clean_pairs": self.pairs}
        return found | {k: float(v) for k, v in extra.items() if v is not None} | self.contrast | {"seconds": self.seconds}


def cell_folder(sweep: Path, cell: Place) -> Path:
    return sweep / "cells" / cell.label


def collect(folder: Path, sweep: Grid) -> list[Result]:
    """One result a cell, in the order of the sweep."""
    return [_result(cell_folder(folder, cell), cell) for cell in sweep.cells]


def is_cell(run: Path) -> bool:
    """Whether a run folder belongs to a sweep, which then speaks for it."""
    return run.resolve().parent.name == "cells" and (run.resolve().parent.parent / "sweep.yaml").exists()


def _result(run: Path, cell: Place) -> Result:
    sentence = read_failure(run)
    if sentence is not None:
        return Result(cell.label, cell.point, "failed", sentence)
    if not (run / "config.yaml").exists():
        return Result(cell.label, cell.point, "waiting")
    config = read_config(run)
    found = _rounds(run, config["rounds"]) if config["flow"] == "rounds" else _human(run)
    return Result(cell.label, cell.point, "finished", **found) if found else Result(cell.label, cell.point, "waiting")


def _rounds(run: Path, rounds: int) -> dict[str, Any] | None:
    """The last round's measurements."""
    folder = run / f"round-{rounds}"
    made = {p.name: m for p in sorted(folder.glob("*")) if (m := manifest(p))}
    start = manifest(run / "round-0" / "evaluate")
    if start is None or not (folder / "decision.json").exists():
        return None
    epochs = sorted((p for p in made if p.startswith("evaluate_epoch-")), key=lambda p: int(p.rpartition("-")[2]))
    scores = [made[place]["facts"]["metrics"]["overall"] for place in (*epochs, "evaluate")]
    clean = made.get("validate_pairs") or made["validate_lists"]  # lists of the policy's own answers come without pairs
    return {
        "start": start["facts"]["metrics"]["overall"]["mean"],
        "checkpoints": [score["mean"] for score in scores],
        "low": scores[-1]["low"],
        "high": scores[-1]["high"],
        "win_rate": made["win_rate"]["facts"]["win_rate"],
        "pairs": clean["rows"],
        "contrast": _contrast(clean),
        "seconds": sum(m["seconds"] for m in made.values()),
        "verdict": made["align"]["facts"]["verdict"],
    }


def _human(run: Path) -> dict[str, Any] | None:
    """How often the chosen answer of a held-out pair is the likelier one, before and after."""
    before, after, pairs, trained = (manifest(run / name) for name in ("rank_before", "rank_after", "validate_pairs", "align"))
    if before is None or after is None or pairs is None or trained is None:
        return None
    score = after["facts"]["accuracy"]
    scores = {"start": before["facts"]["accuracy"]["mean"], "checkpoints": [score["mean"]]} if score else {}
    return scores | {
        "measure": "ranking accuracy",
        "low": score and score["low"],
        "high": score and score["high"],
        "pairs": pairs["rows"],
        "contrast": _contrast(pairs),
        "seconds": trained["seconds"],
        "verdict": trained["facts"]["verdict"],
    }


def _contrast(clean: Manifest) -> dict[str, float]:
    metrics = clean["facts"].get("metrics", {})
    return {name: metrics[name] for name in CONTRAST if metrics.get(name) is not None}


@dataclass(frozen=True)
class Group:
    """The cells that differ in nothing but their seed."""

    point: dict[str, str]  # without the seed
    results: list[Result]

    @property
    def finished(self) -> list[Result]:
        return [r for r in self.results if r.state == "finished"]

    def mean(self, name: str) -> float | None:
        values = self.values(name)
        return statistics.mean(values) if values else None

    def values(self, name: str) -> list[float]:
        return [r.figures[name] for r in self.finished if name in r.figures]


def groups(results: Sequence[Result]) -> list[Group]:
    found: dict[tuple[str, ...], Group] = {}
    for result in results:
        point = {axis: label for axis, label in result.point.items() if axis != SEED}
        found.setdefault(tuple(point.values()), Group(point, [])).results.append(result)
    return list(found.values())


def lines(results: Sequence[Result]) -> Iterator[dict[str, Any]]:
    """One flat mapping a cell, for CSV and JSON. An axis that is called as a figure is becomes `NAME (axis)`."""
    for r in results:
        checkpoints = {f"checkpoint_{i}": score for i, score in enumerate(r.checkpoints, 1)}
        found = {"state": r.state, **r.figures, **checkpoints, "verdict": r.verdict, "failure": r.failure}
        taken = {"cell", "state", "verdict", "failure"}.union(*(other.figures for other in results))
        point = {f"{axis} (axis)" if axis in taken else axis: label for axis, label in r.point.items()}
        yield {"cell": r.label, **point, **found}
