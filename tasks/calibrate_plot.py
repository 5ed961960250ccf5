"""The calibration as a picture: agreement with intervals, preference by length, win probabilities beside the record."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.comparison import POINTS
from tasks.figures import COLOURS, MARKS, blank
from tasks.recorded import Recorded

if TYPE_CHECKING:
    from tasks.calibrate import Calibration

_FIGURES = {  # what the left panel calls them; the perfect or unbiased value
    "accuracy": ("accuracy", 1.0),
    "kappa": ("kappa (agreement\nbeyond chance)", 1.0),
    "ties": ("left undecided", 0.0),
    "first_position": ("prefers what is\nshown first", 0.5),
    "orders_agree": ("both orders agree", 1.0),
    "length_gap": ("prefers the longer\nagainst the record", 0.0),
}
_LEAST = 5  # comparisons in a bin, or it says nothing


Styles = dict[str, dict[str, Any]]  # by judge: colour, mark and label


def plot(path: Path, found: Sequence["Calibration"], recorded: Sequence[Recorded], judged: dict[str, Any]) -> None:
    figure = blank(figsize=(15, 4.6))
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.2, 1, 1))
    known = {"first": "always the first", "length": "always the longer"}
    styles: Styles = {}
    for i, c in enumerate(found):
        label = known.get(c.judge) or (c.judge if len(c.judge) < 46 else f"{c.judge[:43]}…")
        styles[c.judge] = {"color": COLOURS[i % len(COLOURS)], "marker": MARKS[i % len(MARKS)], "label": label}
    chances = {name: np.array([v.win_probability for v in verdicts]) for name, verdicts in judged.items()}
    truth = np.array([POINTS[r.said] for r in recorded])
    _agreement(left, found, styles)
    _by_length(middle, np.array([r.comparison.log_length_ratio for r in recorded]), truth, chances, styles)
    _by_chance(right, truth, chances, styles)
    for axis in (middle, right):
        axis.set_ylim(-0.05, 1.05)
        axis.spines[["top", "right"]].set_visible(False)
    handles, names = middle.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    figure.savefig(path, dpi=110)


def _by_length(axis: Any, length: Any, truth: Any, chances: dict[str, Any], styles: Styles) -> None:
    """How often the first answer is preferred, in groups of like length ratio."""
    bins = _groups(length, np.unique(np.quantile(length, np.linspace(0, 1, 8))))
    centres = [length[b].mean() for b in bins]
    axis.plot(centres, [truth[b].mean() for b in bins], label="the record", color="black", linewidth=3, alpha=0.55)
    for name, values in chances.items():
        axis.plot(centres, [values[b].mean() for b in bins], **styles[name], markersize=5, linewidth=1.4)
    axis.set(title="who prefers the first answer, by length", xlabel="← second longer    ln(length ratio)    first longer →")
    axis.set_ylabel("mean win probability of the first answer")


def _by_chance(axis: Any, truth: Any, chances: dict[str, Any], styles: Styles) -> None:
    """How often the first answer wins in the record, in groups of like win probability."""
    for name, values in chances.items():
        cells = _groups(values, np.linspace(0, 1, 11))
        x, y = [values[b].mean() for b in cells], [truth[b].mean() for b in cells]
        look = {key: styles[name][key] for key in ("color", "marker")}
        axis.scatter(x, y, s=[12 + 200 * len(b) / len(values) for b in cells], alpha=0.75, **look)
    axis.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, zorder=0)
    axis.set(title="win probabilities and what the record says", xlabel="win probability by the judge (size: how many)")
    axis.set_ylabel("share won by the first answer in the record")
    note = "on the line a judge is\nas sure as it is right"
    axis.text(1.03, -0.02, note, ha="right", va="bottom", fontsize=8, color="#555555")


def _agreement(axis: Any, found: Sequence["Calibration"], styles: Styles) -> None:
    for i, c in enumerate(found):
        shift = (i - (len(found) - 1) / 2) * 0.22
        for place, name in enumerate(_FIGURES):
            value = c.figures[name]
            if value is not None:
                bar = [[value["mean"] - value["low"]], [value["high"] - value["mean"]]]
                look = {"fmt": styles[c.judge]["marker"], "color": styles[c.judge]["color"], "markersize": 5}
                axis.errorbar(value["mean"], place + shift, xerr=np.maximum(bar, 0), **look)
    for place, (_, best) in enumerate(_FIGURES.values()):
        axis.plot([best, best], [place - 0.42, place + 0.42], color="#999999", linewidth=1, linestyle="--", zorder=0)
    axis.set_yticks(range(len(_FIGURES)), [title for title, _ in _FIGURES.values()])
    axis.invert_yaxis()
    axis.set(title="agreement and bias, with 95 % intervals", xlabel="dashed: without error and without bias")
    axis.spines[["top", "right"]].set_visible(False)


def _groups(values: Any, edges: Any) -> list[Any]:
    """The positions of the values between each two edges, where there are enough of them."""
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return [at for i in range(len(edges) - 1) if len(at := np.flatnonzero(place == i)) >= _LEAST]
