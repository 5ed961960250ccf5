"""A sweep's outcome as files: cells.csv, cells.json, table.md and heatmap.png in the sweep's folder."""

import csv
import json
import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from data_contracts.config_sweep import SEED, Grid
from data_contracts.store import write_text
from tasks.figures import heat_maps
from tasks.summary import MISSING
from tasks.sweep import CONTRAST, Group, Result, collect, groups, lines

FILES = ("table.md", "cells.csv", "cells.json", "heatmap.png")


def write_tables(folder: Path, sweep: Grid) -> list[Result]:
    """Write `FILES` as far as the cells have got, and return their results."""
    results = collect(folder, sweep)
    rows = list(lines(results))
    found = {"name": sweep.name, "axes": sweep.axes, "cells": rows}
    write_text(folder / "cells.json", json.dumps(found, indent=1, ensure_ascii=False))
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / "cells.csv", text.getvalue())
    write_text(folder / "table.md", markdown(sweep, results))
    _heat_map(folder / "heatmap.png", sweep, results)
    return results


def markdown(sweep: Grid, results: Sequence[Result]) -> str:
    """One row for the cells that differ in their seed alone."""
    axes = [axis for axis in sweep.axes if axis != SEED]
    found = groups(results)
    contrast = [name for name in CONTRAST if any(g.values(name) for g in found)]
    columns = [
        "max over checkpoints",
        "mean over checkpoints",
        "last",
        "win rate",
        "pairs",
        *(n.replace("_", " ") for n in contrast),
    ]
    head = [*axes, *columns, "cells"]
    table = [head, [*("---" for _ in axes), *("---:" for _ in columns), "---:"]]
    for group in found:
        figures = [_spread(group, name) for name in ("max", "mean", "last")]
        figures += [_mean(group, "win_rate", 3), _mean(group, "pairs", 0), *(_mean(group, name, 2) for name in contrast)]
        table.append([*group.point.values(), *figures, f"{len(group.finished)} of {len(group.results)}"])
    starts = [r.figures["start"] for r in results if r.figures]
    begin = f" The start scores {min(starts):.3f}." if starts and min(starts) == max(starts) else ""
    done = sum(bool(r.figures) for r in results)
    seeds = len(sweep.axes.get(SEED, [""]))
    plural = "" if seeds == 1 else "s"
    text = [
        f"# {sweep.name}",
        "",
        f"{done} of {len(results)} cells finished.{begin} Overall scores, means over {seeds} seed{plural};",
        "in brackets the lowest and the highest. Checkpoints are the models after each epoch: their maximum is the best of",
        "several measurements and so too high by chance, which the mean and the last are not.",
        "",
        *map(_line, table),
    ]
    failed = [f"- `{r.label}`: {_literal(r.failure)}" for r in results if r.state == "failed"]
    return "\n".join([*text, *(["", "Failed:", "", *failed] if failed else [])]) + "\n"


def _line(cells: Sequence[str]) -> str:
    """A row of the table; a bar or a line break in a label is none of its own."""
    return f"| {' | '.join(' '.join(cell.split()).replace('|', '/') for cell in cells)} |"


def _literal(text: str) -> str:
    """Text that no Markdown reader takes for markup."""
    return re.sub(r"([\\`*_\[\]<>|&#])", r"\\\1", " ".join(text.split()))


def _spread(group: Group, name: str) -> str:
    values = group.values(name)
    if not values:
        return MISSING
    more = f" ({min(values):.3f}–{max(values):.3f})" if len(values) > 1 else ""
    return f"{group.mean(name):.3f}{more}"


def _mean(group: Group, name: str, digits: int) -> str:
    mean = group.mean(name)
    return MISSING if mean is None else f"{mean:.{digits}f}"


def _heat_map(path: Path, sweep: Grid, results: Sequence[Result]) -> None:
    """The first two axes besides the seed; further ones are averaged over."""
    axes = [axis for axis in sweep.axes if axis != SEED][:2] or [SEED]
    rows = sweep.axes[axes[0]]
    columns: list[str | None] = [*sweep.axes[axes[1]]] if len(axes) > 1 else [None]

    def mean(name: str, row: str, column: str | None = None) -> float | None:
        here = [r for r in results if r.point[axes[0]] == row and (column is None or r.point[axes[1]] == column)]
        return Group({}, here).mean(name)

    def panel(name: str) -> list[list[float | None]]:
        return [[mean(name, row, column) for column in columns] for row in rows]

    contrast = {name.replace("_", " "): [mean(name, row) for row in rows] for name in CONTRAST[:2]}
    panels = {"maximum over checkpoints": panel("max"), "mean over checkpoints": panel("mean")}
    starts = [r.figures["start"] for r in results if r.figures]
    heat_maps(path, sweep.name, axes, rows, [c or "" for c in columns], panels, contrast, min(starts) if starts else None)
