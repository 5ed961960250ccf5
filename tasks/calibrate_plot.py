"""The calibration as a picture: agreement with intervals, preference by length, win probabilities beside the record."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.comparison import POINTS
from tasks.figures import blank
from tasks.recorded import Recorded

if TYPE_CHECKING:
    from tasks.calibrate import Calibration

_COLOURS = ("#1f6f8b", "#d98032", "#8a8a8a", "#7a4ea3")
_LEAST = 5  # comparisons in a bin, or it says nothing


def plot(path: Path, found: Sequence["Calibration"], recorded: Sequence[Recorded], judged: dict[str, Any]) -> None:
    figure = blank(figsize=(14, 4))
    left, middle, right = figure.subplots(1, 3)
    colour = {c.judge: _COLOURS[i % len(_COLOURS)] for i, c in enumerate(found)}
    labels = {c.judge: c.judge if len(c.judge) < 36 else f"{c.judge[:33]}…" for c in found}
    _agreement(left, found)
    truth = np.array([POINTS[r.said] for r in recorded])
    length = np.array([r.comparison.log_length_ratio for r in recorded])
    bins = _groups(length, np.unique(np.quantile(length, np.linspace(0, 1, 8))))
    lines = {"the record": (truth, "black")} | {
        labels[name]: (np.array([v.win_probability for v in verdicts]), colour[name]) for name, verdicts in judged.items()
    }
    for name, (values, shade) in lines.items():
        style = {"color": shade, "marker": "o", "markersize": 4, "linewidth": 2 if name == "the record" else 1.4}
        middle.plot([length[b].mean() for b in bins], [values[b].mean() for b in bins], label=name, **style)
    middle.set(title="who prefers the first answer, by length", xlabel="log(length of first / length of second)")
    middle.set_ylabel("mean win probability of the first")
    middle.legend(frameon=False, fontsize=8)
    for name, verdicts in judged.items():
        given = np.array([v.win_probability for v in verdicts])
        cells = _groups(given, np.linspace(0, 1, 11))
        sizes = [12 + 200 * len(b) / len(given) for b in cells]
        right.scatter([given[b].mean() for b in cells], [truth[b].mean() for b in cells], s=sizes, color=colour[name], alpha=0.75)
    right.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, zorder=0)
    right.set(title="win probabilities and what the record says", xlabel="the judge's win probability (dot size: how many)")
    right.set_ylabel("recorded share won by the first")
    for axis in (middle, right):
        axis.set_ylim(-0.05, 1.05)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def _agreement(axis: Any, found: Sequence["Calibration"]) -> None:
    names = ("accuracy", "kappa", "ties", "first_position", "orders_agree", "length_gap")
    for i, c in enumerate(found):
        shift = (i - (len(found) - 1) / 2) * 0.22
        for place, name in enumerate(names):
            value = c.figures[name]
            if value is not None:
                bar = [[value["mean"] - value["low"]], [value["high"] - value["mean"]]]
                y = len(names) - 1 - place - shift
                axis.errorbar(value["mean"], y, xerr=np.maximum(bar, 0), fmt="o", color=_COLOURS[i % len(_COLOURS)], markersize=5)
    axis.set_yticks(range(len(names)), [name.replace("_", " ") for name in reversed(names)])
    axis.set_title("agreement and bias, with 95 % intervals")
    axis.axvline(0.5, color="#cccccc", linewidth=1, zorder=0)
    axis.axvline(0, color="#cccccc", linewidth=1, zorder=0)
    axis.spines[["top", "right"]].set_visible(False)


def _groups(values: Any, edges: Any) -> list[Any]:
    """The positions of the values between each two edges, where there are enough of them."""
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return [at for i in range(len(edges) - 1) if len(at := np.flatnonzero(place == i)) >= _LEAST]
