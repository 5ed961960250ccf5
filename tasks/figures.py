"""Figures as PNG files, for MLflow and for the tables that are published: training dynamics and scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from data_contracts.store import Rows
from tasks.summary import Row

COLOURS = ("#0b6b5e", "#b4531a", "#5b4bb5", "#1d2126")  # the report's; each with a line and a mark of its own, for whoever
LINES = ("-", "--", ":", "-.")  # does not tell the colours apart
MARKS = ("o", "s", "D", "^")


def training_figure(path: Path, title: str, steps: Rows) -> None:
    """Loss, and the log-ratios of chosen and rejected answers apart: their difference alone hides that both may fall."""
    axes = _axes(2)
    x = [row["step"] for row in steps]
    axes[0].plot(x, [row["loss"] for row in steps], color=COLOURS[0], marker=_dot(x))
    axes[0].set(xlabel="optimiser step", ylabel="loss", title=title)
    for name, colour, line in (("chosen", COLOURS[0], LINES[0]), ("rejected", COLOURS[1], LINES[1])):
        axes[1].plot(x, [row[f"{name}_logratio"] for row in steps], color=colour, linestyle=line, marker=_dot(x), label=name)
    axes[1].axhline(0, color="#999", linewidth=0.8)
    axes[1].set(xlabel="optimiser step", ylabel="log-ratio to the reference (nats)", title="answers against the reference")
    axes[1].legend(frameon=False)
    for axis in axes:
        axis.xaxis.get_major_locator().set_params(integer=True)
    _save(axes, path)


def scores_figure(path: Path, title: str, rows: Sequence[Row]) -> None:
    """Each split's score, round by round, with its 95 % interval."""
    (axis,) = _axes(1)
    measured = [row for row in rows if row.scores]
    styles = zip(COLOURS, LINES, MARKS, strict=True)
    names = sorted(measured[0].scores if measured else (), key=lambda name: name != "overall")  # in the report's colours
    for shift, (name, (colour, line, mark)) in enumerate(zip(names, styles, strict=False)):
        points = [(i, row.scores[name]) for i, row in enumerate(measured) if name in row.scores]
        x = [i + 0.06 * (shift - 1) for i, _ in points]
        means = [s["mean"] for _, s in points]
        spread = [[s["mean"] - s["low"] for _, s in points], [s["high"] - s["mean"] for _, s in points]]
        axis.errorbar(x, means, yerr=spread, color=colour, linestyle=line, marker=mark, capsize=3, label=name)
    axis.set_xticks(range(len(measured)), [row.label for row in measured])
    axis.set(ylabel="score with 95 % interval", title=title)
    if measured:
        axis.legend(frameon=False)
    _save([axis], path)


def _dot(x: Sequence[Any]) -> str | None:
    """A single step is no line: it needs a mark to be seen."""
    return MARKS[0] if len(x) == 1 else None


def blank(layout: Literal["constrained"] | None = "constrained", **how: Any) -> Any:
    """A figure that needs no display and keeps no state between pictures."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["text.parse_math"] = False  # a $ in a name is no formula
    return Figure(layout=layout, **how)


def _axes(n: int) -> list[Any]:
    """Side by side. Their margins are given: looking for the best takes as long as the drawing, and every round is drawn."""
    figure = blank(layout=None, figsize=(5.4 * n, 3.8), dpi=110)
    figure.subplots_adjust(left=0.14 / n, right=1 - 0.04 / n, bottom=0.14, top=0.91, wspace=0.24)
    return list(figure.subplots(1, n, squeeze=False)[0])


def _save(axes: Sequence[Any], path: Path) -> None:
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    axes[0].figure.savefig(path)


Grid = Sequence[Sequence[float | str]]  # a text stands where no number is


def heat_maps(
    path: Path,
    title: str,
    axes: Sequence[str],
    rows: Sequence[str],
    columns: Sequence[str],
    panels: Mapping[str, Grid],
    beside: Mapping[str, Sequence[float | None]],
    start: float | None,
    measure: str,
) -> None:
    """One heat map a panel, [row][column], on one scale of `measure`, and beside them a bar a row for each of `beside`."""
    shown = {name: values for name, values in beside.items() if any(v is not None for v in values)}
    widths = [max(1.1 * len(columns) + 0.6, 2.6)] * len(panels) + [1.6] * len(shown)
    figure = blank(figsize=(sum(widths) + 3, 0.62 * len(rows) + 2.2), dpi=120)
    fields = list(figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0])
    cells = [v for grid in panels.values() for line in grid for v in line if not isinstance(v, str)]
    scale = (min([*cells, *([start] if start is not None else [])]), max(cells)) if cells else (0.0, 1.0)
    for field, (name, grid) in zip(fields, panels.items(), strict=False):
        image = _cells(field, grid, scale)
        field.set_xticks(range(len(columns)), columns, rotation=30, ha="right", rotation_mode="anchor")
        field.set_yticks(range(len(rows)), rows if field is fields[0] else [""] * len(rows))
        field.set(title=name, xlabel=axes[1] if len(axes) > 1 else "")
    fields[0].set_ylabel(axes[0])
    if panels:
        bar = figure.colorbar(image, ax=fields[: len(panels)], shrink=0.8, label=measure)
        if start is not None:
            bar.ax.axhline(start, color="white", linewidth=4)
            bar.ax.axhline(start, color="black", linewidth=1.5)
            bar.ax.set_title(f"start {start:.3f}\n(black line)", fontsize=8, loc="left")
    for field, (name, values) in zip(fields[len(panels) :], shown.items(), strict=True):
        _bars(field, name, values)
    figure.suptitle(title)
    figure.savefig(path)


def _cells(field: Any, grid: Grid, scale: tuple[float, float]) -> Any:
    """One heat map with its value, or its text, in every cell."""
    numbers = [[float("nan") if isinstance(v, str) else v for v in line] for line in grid]
    image = field.imshow(numbers, vmin=scale[0], vmax=scale[1], cmap="viridis", aspect="auto")
    for i, line in enumerate(grid):
        for j, value in enumerate(line):
            text, ink = (value, "black") if isinstance(value, str) else (f"{value:.3f}", _ink(image.to_rgba(value)))
            field.text(j, i, text, ha="center", va="center", color=ink, fontsize=9)
    return image


def _bars(field: Any, name: str, values: Sequence[float | None]) -> None:
    """A bar a row of the heat maps, its value beside it."""
    field.barh(range(len(values)), [0.0 if v is None else v for v in values], color="#b7d3cf")
    for i, mean in enumerate(values):
        field.text(0, i, " –" if mean is None else f" {mean:.2f}", va="center", fontsize=8)
    field.set_yticks(range(len(values)), [""] * len(values))
    field.set_ylim(len(values) - 0.5, -0.5)
    field.set(title=name, xlabel="mean over pairs")
    field.spines[["top", "right"]].set_visible(False)


def _ink(behind: Sequence[float]) -> str:
    """Black or white, whichever is read better on a colour (WCAG 2.2, relative luminance)."""
    r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in behind[:3])
    return "black" if 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 else "white"
