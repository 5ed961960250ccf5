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


def plot(path: Path, found: Sequence["Calibration"], recorded: Sequence[Recorded], judged: dict[str, Any]) -> None:
    figure = blank(figsize=(15, 4.6))
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.2, 1, 1))
    colour, mark = ({c.judge: kinds[i % len(kinds)] for i, c in enumerate(found)} for kinds in (COLOURS, MARKS))
    labels = {c.judge: c.judge if len(c.judge) < 46 else f"{c.judge[:43]}…" for c in found}
    labels |= {"first": "always the first", "length": "always the longer"}
    _agreement(left, found, colour, mark)
    truth = np.array([POINTS[r.said] for r in recorded])
    length = np.array([r.comparison.log_length_ratio for r in recorded])
    bins = _groups(length, np.unique(np.quantile(length, np.linspace(0, 1, 8))))
    centres = [length[b].mean() for b in bins]
    middle.plot(centres, [truth[b].mean() for b in bins], label="the record", color="black", linewidth=3, alpha=0.55)
    for name, verdicts in judged.items():
        values = np.array([v.win_probability for v in verdicts])
        style = {"color": colour[name], "marker": mark[name], "markersize": 5, "linewidth": 1.4, "label": labels[name]}
        middle.plot(centres, [values[b].mean() for b in bins], **style)
    middle.set(
        title="who prefers the first answer, by length",
        xlabel="← second longer    ln(length ratio)    first longer →",
    )
    middle.set_ylabel("mean win probability of the first answer")
    for name, verdicts in judged.items():
        given = np.array([v.win_probability for v in verdicts])
        cells = _groups(given, np.linspace(0, 1, 11))
        sizes = [12 + 200 * len(b) / len(given) for b in cells]
        right.scatter(
            [given[b].mean() for b in cells],
            [truth[b].mean() for b in cells],
            s=sizes,
            color=colour[name],
            marker=mark[name],
            alpha=0.75,
        )
    right.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, zorder=0)
    right.set(title="win probabilities and what the record says", xlabel="win probability by the judge (size: how many)")
    right.set_ylabel("share won by the first answer in the record")
    right.text(
        1.03, -0.02, "on the line a judge is\nas sure as it is right", ha="right", va="bottom", fontsize=8, color="#555555"
    )
    for axis in (middle, right):
        axis.set_ylim(-0.05, 1.05)
        axis.spines[["top", "right"]].set_visible(False)
    handles, names = middle.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    figure.savefig(path, dpi=110)


def _agreement(axis: Any, found: Sequence["Calibration"], colour: dict[str, str], mark: dict[str, str]) -> None:
    for i, c in enumerate(found):
        shift = (i - (len(found) - 1) / 2) * 0.22
        for place, name in enumerate(_FIGURES):
            value = c.figures[name]
            if value is not None:
                bar = [[value["mean"] - value["low"]], [value["high"] - value["mean"]]]
                style = {"fmt": mark[c.judge], "color": colour[c.judge], "markersize": 5}
                axis.errorbar(value["mean"], place + shift, xerr=np.maximum(bar, 0), **style)
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
