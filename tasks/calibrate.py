"""Calibrate: how far a judge agrees with recorded verdicts, and whether it goes by place or length instead of by what is said.

Beside the judge stand two that are wrong on purpose: `first` prefers whatever is shown first, `length` the longer answer.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.store import write_json
from models.chat import Message
from tasks.comparison import POINTS, SWAPPED, Comparison, Verdict
from tasks.recorded import Recorded

_RESAMPLES = 1000
_TOLERATED = 0.1  # a bias smaller than this is not worth a warning, however sure it is
_SIDES = {"first": 0, "tie": 1, "second": 2}
Table = dict[str, Any]  # columns, each an array with one number a comparison


@dataclass(frozen=True)
class Calibration:
    """`figures` are {name: {"mean", "low", "high"}}, or None where they mean nothing; `flags` say what not to trust it in."""

    judge: str
    figures: dict[str, dict[str, float] | None]
    flags: list[str]


def calibrate(name: str, recorded: Sequence[Recorded], verdicts: Sequence[Verdict], seed: int = 0) -> Calibration:
    """What the judge's verdicts on the recorded comparisons are worth, each figure with its 95 % interval from a bootstrap over
    distinct prompts:

    - `accuracy`: share of the recorded decisions that it made too, a tie counting one half;
    - `kappa`: agreement beyond chance over first, tie and second (Cohen 1960, equation 1);
    - `ties`: share of the comparisons that it left undecided, two orders that disagree among them;
    - `first_position`: share of its replies naming an answer that named the one shown first (0.5 without bias);
    - `orders_agree`: share in which both orders said the same; both None for a judge that sees no order;
    - `length_gap`: how often it prefers the longer answer where the record prefers the shorter, minus the other way round. A
      judge that errs whatever the length has 0, one that goes by length 1; that good answers may be longer does not enter;
    - `length_correlation`: of its win probability with log(length of first / length of second), the record's own beside it.
    """
    table = _columns(recorded, verdicts)
    figures = {
        name: None if math.isnan(mean) else {"mean": mean, "low": low, "high": high}
        for name, (mean, low, high) in _bootstrap(table, [r.comparison.prompt for r in recorded], seed).items()
    }
    return Calibration(name, figures, _flags(figures))


def reference_judges(recorded: Sequence[Recorded]) -> dict[str, list[Verdict]]:
    """The verdicts of `first` and `length`."""
    return {"first": [Verdict("first", "second", "tie") for _ in recorded], "length": [_longer(r.comparison) for r in recorded]}


def recorded_verdicts(recorded: Sequence[Recorded]) -> list[Verdict]:
    """The record as its own judge: the upper bound of every figure."""
    return [Verdict(r.said, r.said, r.said, win_probability=r.first_wins, side_by_side=False) for r in recorded]


def write_calibration(out: Path, found: Sequence[Calibration], recorded: Sequence[Recorded], judged: dict[str, Any]) -> None:
    """`calibration.json` with every figure and verdict, and `calibration.png`."""
    from tasks.calibrate_plot import plot

    out.mkdir(parents=True, exist_ok=True)
    rows = [
        {"prompt": list(r.comparison.prompt), "recorded": r.first_wins}
        | {name: {"outcome": v[i].outcome, "win_probability": v[i].win_probability} for name, v in judged.items()}
        for i, r in enumerate(recorded)
    ]
    said = {"comparisons": len(recorded), "judges": [vars(c) for c in found], "rows": rows}
    write_json(out / "calibration.json", said)
    plot(out / "calibration.png", found, recorded, judged)


def _longer(c: Comparison) -> Verdict:
    a, b = len(c.first), len(c.second)
    said = "tie" if a == b else "first" if a > b else "second"
    return Verdict(said, said, said, win_probability=POINTS[said])


def _columns(recorded: Sequence[Recorded], verdicts: Sequence[Verdict]) -> Table:
    """One number a comparison, NaN where a figure does not apply to it."""
    columns: dict[str, list[float]] = {name: [] for name in ("truth", "said", "points", "p", "length", "first", "named", "agree")}
    for r, v in zip(recorded, verdicts, strict=True):
        shown = [v.forward, SWAPPED[v.backward]] if v.side_by_side and not r.comparison.is_identical else []
        columns["truth"].append(_SIDES[r.said])
        columns["said"].append(_SIDES[v.outcome])
        columns["points"].append(POINTS[v.outcome])
        columns["p"].append(v.win_probability)
        columns["length"].append(r.comparison.log_length_ratio)
        columns["first"].append(shown.count("first"))
        columns["named"].append(shown.count("first") + shown.count("second"))
        columns["agree"].append(float(v.forward == v.backward != "unparsed") if shown else math.nan)
    return {name: np.array(values, dtype=np.float64) for name, values in columns.items()}


def _accuracy(t: Table) -> float:
    decided = t["truth"] != 1
    return _mean(np.where(t["truth"] == 0, t["points"], 1 - t["points"])[decided])


def _kappa(t: Table) -> float:
    counts = np.bincount((3 * t["truth"] + t["said"]).astype(int), minlength=9).reshape(3, 3) / len(t["truth"])
    chance = float(counts.sum(0) @ counts.sum(1))
    # where judge and record both know one verdict only there is nothing to correct for
    return math.nan if chance == 1 else (float(np.trace(counts)) - chance) / (1 - chance)


def _length_gap(t: Table) -> float:
    usable = (t["truth"] != 1) & (t["length"] != 0)
    longer = np.where(t["length"] > 0, t["points"], 1 - t["points"])  # how far it prefers the longer answer
    truly = (t["truth"] == 0) == (t["length"] > 0)  # whether the record does
    return _mean(longer[usable & ~truly]) - _mean(1 - longer[usable & truly])


def _correlation(of: str) -> Callable[[Table], float]:
    def measure(t: Table) -> float:
        values = t[of] if of == "p" else 1 - t["truth"] / 2
        if not np.ptp(values) or not np.ptp(t["length"]):
            return 0.0
        return float(np.corrcoef(values, t["length"])[0, 1])

    return measure


_FIGURES: dict[str, Callable[[Table], float]] = {
    "accuracy": _accuracy,
    "kappa": _kappa,
    "ties": lambda t: _mean((t["said"] == 1).astype(np.float64)),
    "first_position": lambda t: float(t["first"].sum() / t["named"].sum()) if t["named"].sum() else math.nan,
    "orders_agree": lambda t: _mean(t["agree"][~np.isnan(t["agree"])]),
    "length_gap": _length_gap,
    "length_correlation": _correlation("p"),
    "recorded_length_correlation": _correlation("truth"),
}


def _mean(values: Any) -> float:
    return float(values.mean()) if len(values) else math.nan


def _bootstrap(table: Table, prompts: Sequence[Sequence[Message]], seed: int) -> dict[str, tuple[float, float, float]]:
    """Each figure with its percentile interval: distinct prompts are drawn with replacement, with all their comparisons."""
    _, cluster = np.unique([json.dumps(list(p), sort_keys=True) for p in prompts], return_inverse=True)
    members = [np.flatnonzero(cluster == c) for c in range(cluster.max() + 1)]
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {name: [] for name in _FIGURES}
    for _ in range(_RESAMPLES):
        rows = np.concatenate([members[c] for c in rng.integers(0, len(members), len(members))])
        part = {name: values[rows] for name, values in table.items()}
        for name, figure in _FIGURES.items():
            drawn[name].append(figure(part))
    found = {}
    for name, figure in _FIGURES.items():
        known = [value for value in drawn[name] if not math.isnan(value)]
        low, high = (float(np.quantile(known, q)) if known else math.nan for q in (0.025, 0.975))
        found[name] = (figure(table), low, high)
    return found


def _flags(figures: dict[str, dict[str, float] | None]) -> list[str]:
    def off(name: str, by: float) -> str | None:
        """ "above" or "below" where a figure is surely and clearly off its unbiased value."""
        found = figures[name]
        if found is None or abs(found["mean"] - by) <= _TOLERATED or found["low"] <= by <= found["high"]:
            return None
        return "above" if found["mean"] > by else "below"

    flags = []
    if side := off("first_position", 0.5):
        flags.append(f"prefers the answer shown {'first' if side == 'above' else 'second'}")
    if side := off("length_gap", 0.0):
        flags.append(f"prefers the {'longer' if side == 'above' else 'shorter'} answer against the record")
    kappa, ties = figures["kappa"], figures["ties"]
    if kappa is not None and kappa["low"] <= 0:
        flags.append("agrees with the record no better than chance")
    if ties is not None and ties["mean"] > 0.5:
        flags.append("leaves most comparisons undecided")
    return flags
