"""Figures as PNG files, for MLflow and for the tables that are published: training dynamics and scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_contracts.store import Rows
from tasks.summary import Row

COLOURS = ("#2563eb", "#dc2626", "#15803d", "#7c3aed")


def training_figure(path: Path, title: str, steps: Rows) -> None:
    """Loss, and the log-ratios of chosen and rejected answers apart: their difference alone hides that both may fall."""
    axes = _axes(2)
    x = [row["step"] for row in steps]
    axes[0].plot(x, [row["loss"] for row in steps], color=COLOURS[3])
    axes[0].set(xlabel="optimiser step", ylabel="loss", title=title)
    for name, colour in (("chosen", COLOURS[0]), ("rejected", COLOURS[1])):
        axes[1].plot(x, [row[f"{name}_logratio"] for row in steps], color=colour, label=name)
    axes[1].axhline(0, color="#999", linewidth=0.8)
    axes[1].set(xlabel="optimiser step", ylabel="log-ratio to the reference (nats)", title="answers against the reference")
    axes[1].legend()
    _save(axes, path)


def scores_figure(path: Path, title: str, rows: Sequence[Row]) -> None:
    """Each split's score, round by round, with its 95 % interval."""
    (axis,) = _axes(1)
    measured = [row for row in rows if row.scores]
    for shift, (name, colour) in enumerate(zip(measured[0].scores if measured else (), COLOURS, strict=False)):
        points = [(i, row.scores[name]) for i, row in enumerate(measured) if name in row.scores]
        x = [i + 0.06 * (shift - 1) for i, _ in points]
        means = [s["mean"] for _, s in points]
        spread = [[s["mean"] - s["low"] for _, s in points], [s["high"] - s["mean"] for _, s in points]]
        axis.errorbar(x, means, yerr=spread, color=colour, marker="o", capsize=3, label=name)
    axis.set_xticks(range(len(measured)), [row.label for row in measured])
    axis.set(ylabel="score with 95 % interval", title=title)
    if measured:
        axis.legend()
    _save([axis], path)


def _axes(n: int) -> list[Any]:
    from matplotlib.figure import Figure

    return list(Figure(figsize=(5.4 * n, 3.8), layout="constrained", dpi=110).subplots(1, n, squeeze=False)[0])


def _save(axes: Sequence[Any], path: Path) -> None:
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    axes[0].figure.savefig(path)
