"""A sweep's outcome as files: cells.csv, cells.json, table.md and heatmap.png in the sweep's folder."""

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import StringIO
from pathlib import Path
from textwrap import wrap

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from data_contracts.config_sweep import SEED, Grid
from data_contracts.plain import safe
from data_contracts.store import write_text
from tasks.figures import heat_maps
from tasks.summary import MISSING
from tasks.sweep import CONTRAST, Group, Result, collect, groups, lines

CONTRAST_TITLES = {"token_jaccard": "token Jaccard", "character_edits": "character edits", "length_ratio": "length ratio"}
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
    head, rows = _table(sweep, results)
    axes = sum(axis != SEED for axis in sweep.axes)
    table = [head, [*("---" for _ in range(axes)), *("---:" for _ in head[axes:])], *rows]
    text = [f"# {sweep.name}", "", *wrap(_told(sweep, results), 120), "", *map(_line, table)]
    failed = [f"- `{r.label}`: {_literal(r.failure)}" for r in results if r.state == "failed"]
    return "\n".join([*text, *(["", "Failed:", "", *failed] if failed else [])]) + "\n"


def render(sweep: Grid, results: Sequence[Result]) -> Iterator[RenderableType]:
    """The same for a terminal, whose breadth is no match for how contrastive the pairs are as well."""
    head, rows = _table(sweep, results, further=("win_rate", "clean_pairs"))
    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    for place, name in enumerate(head):
        if place < sum(axis != SEED for axis in sweep.axes):
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name.replace(" ", "\n"), justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(safe(cell).replace(" (", "\n(")) for cell in row))
    yield Text(_told(sweep, results))
    yield table
    for r in results:
        if r.state == "failed":
            yield Text(f"failed: {safe(r.label)}: {safe(r.failure)}")


def _table(
    sweep: Grid, results: Sequence[Result], further: Sequence[str] = ("win_rate", "clean_pairs", *CONTRAST)
) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: the axes, the scores, and whatever of `further` any cell has."""
    found = groups(results)
    scores = {"max": "max over checkpoints", "mean": "mean over checkpoints", "last": "last"}
    if not _kept(results):
        scores = {"last": _measure(results)}
    figures: dict[str, Callable[[Group], str]] = {title: partial(_spread, name=name) for name, title in scores.items()}
    titles = {"win_rate": ("win rate", 3), "clean_pairs": ("clean pairs", 0)} | {n: (CONTRAST_TITLES[n], 2) for n in CONTRAST}
    for name in further:
        if any(group.values(name) for group in found):
            title, digits = titles[name]
            figures[title] = partial(_mean, name=name, digits=digits)
    rows = [
        [*g.point.values(), *(figure(g) for figure in figures.values()), f"{len(g.finished)} of {len(g.results)}"] for g in found
    ]
    return [*(axis for axis in sweep.axes if axis != SEED), *figures, "cells"], rows


def _kept(results: Sequence[Result]) -> bool:
    """Whether any cell was measured at more than one checkpoint."""
    return any(len(r.checkpoints) > 1 for r in results)


def _measure(results: Sequence[Result]) -> str:
    return next((r.measure for r in results if r.state == "finished"), Result.measure)


def _told(sweep: Grid, results: Sequence[Result]) -> str:
    done = sum(r.state == "finished" for r in results)
    starts = [r.figures["start"] for r in results if "start" in r.figures]
    begin = f" The start scores {min(starts):.3f}." if starts and min(starts) == max(starts) else ""
    what = {"overall score": "Overall scores", "ranking accuracy": "Ranking accuracies on held-out pairs"}[_measure(results)]
    seeds = len(sweep.axes.get(SEED, [""]))
    several = f", means over {seeds} seeds; in brackets the lowest and the highest" if seeds > 1 else ""
    text = f"{done} of {len(results)} cells finished.{begin} {what}{several}."
    if _kept(results):
        text += (
            " Checkpoints are the models after each epoch: their maximum is the best of several measurements and so too high by "
        )
        text += "chance, which the mean and the last are not."
    return text


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

    def here(row: str, column: str | None = None) -> Group:
        fits = [r for r in results if r.point[axes[0]] == row and (column is None or r.point[axes[1]] == column)]
        return Group({}, fits)

    def cell(name: str, group: Group) -> float | str:
        mean = group.mean(name)
        return mean if mean is not None else "failed" if any(r.state == "failed" for r in group.results) else MISSING

    def panel(name: str) -> list[list[float | str]]:
        return [[cell(name, here(row, column)) for column in columns] for row in rows]

    titles = (
        {"max": "maximum over checkpoints", "mean": "mean over checkpoints"} if _kept(results) else {"last": _measure(results)}
    )
    contrast = {CONTRAST_TITLES[name]: [here(row).mean(name) for row in rows] for name in CONTRAST[:2]}
    starts = [r.figures["start"] for r in results if "start" in r.figures]
    heat_maps(
        path,
        sweep.name,
        axes,
        rows,
        [c or "" for c in columns],
        {title: panel(name) for name, title in titles.items()},
        contrast,
        min(starts) if starts else None,
        _measure(results),
    )
