"""What kinds of preference data somebody has, beside each other: contrast, lengths, margins, gaps, and the pairs themselves.

One part a method, so that a dataset of several methods (replay) shows each of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from data_contracts.contrast import contrast, summarise, there
from data_contracts.errors import PlumblineError
from data_contracts.plain import safe
from data_contracts.store import Dataset, open_dataset

COLUMNS = {  # name of the figure: heading
    "rows": "pairs",
    "one_sided": "of these\none-sided",
    "token_jaccard": "token\nJaccard",
    "character_edits": "character\nLevenshtein",
    "shared_prefix": "shared\nprefix",
    "length_ratio": "length\nratio",
    "chosen_longer": "chosen\nlonger",
    "near_identical": "near\nidentical",
    "margin": "judge\nmargin",
    "reference_gap": "reference\ngap (nats)",
}


@dataclass(frozen=True)
class Part:
    """The pairs of one method in one dataset. `frame` has the dataset's columns and, a row each, those of `contrast`."""

    label: str
    frame: pd.DataFrame
    figures: dict[str, float]


def parts(datasets: Sequence[tuple[str, Dataset]], gaps: Sequence[Dataset | None]) -> list[Part]:
    """Each dataset by method, under the name given with it. `gaps` are the datasets' rankings under a reference, if there is one.

    Raises PlumblineError for a dataset without pairs, or of another kind.
    """
    found = []
    for (name, data), ranking in zip(datasets, gaps, strict=True):
        if data.kind != "pairs" or not data.rows:
            raise PlumblineError(f"{data.folder} holds {data.rows} {data.kind}, and inspect shows pairs: name a folder of pairs")
        frame = data.frame()
        frame = pd.concat([frame, contrast(frame)], axis=1)
        if ranking is not None:
            rows, whole = ranking.frame(), there(frame, "chosen") & there(frame, "rejected")
            frame["reference_gap"] = np.nan
            frame.loc[whole, "reference_gap"] = (rows["chosen_logp"] - rows["rejected_logp"]).to_numpy()
        for method, rows in frame.groupby("method", sort=False):
            label = f"{name}: {method}" if frame["method"].nunique() > 1 else name
            found.append(Part(label, rows, _figures(rows)))
    return found


def _figures(rows: pd.DataFrame) -> dict[str, float]:
    figures = {"rows": float(len(rows)), **summarise(rows)}
    for name in ("margin", "reference_gap"):
        if name in rows and rows[name].notna().any():
            figures[name] = float(rows[name].mean())
    return figures


def render(found: Sequence[Part]) -> Table:
    """A row a part, a column a figure that any part has."""
    names = [name for name in COLUMNS if any(name in part.figures for part in found)]
    table = Table(box=SIMPLE_HEAD, show_edge=False)
    table.add_column("", overflow="fold")  # of a long path the end says which it is
    for name in names:
        table.add_column(COLUMNS[name], justify="right")
    for part in found:
        table.add_row(escape(safe(part.label)), *(cell(name, part.figures.get(name)) for name in names))
    return table


def cell(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if name in ("rows", "one_sided", "character_edits") else f"{value:.3f}"


def read(source: str, model: str | None, scratch: Path) -> tuple[str, Dataset]:
    """A dataset's folder, or a preference file that `model`'s tokenizer encodes, under a name to show."""
    path = Path(source)
    if path.is_dir():
        data = open_dataset(path)
        where = path.resolve()
        return f"{where.parents[1].name}/{where.parent.name}" if where.parent.name.startswith("round-") else where.name, data
    if not path.exists():
        raise PlumblineError(f"{source} does not exist: name a folder of pairs or a preference file")
    if model is None:
        raise PlumblineError(f"{source} is a file, whose texts a tokenizer must encode: add --model FOLDER")
    from tasks.validate_file import read_dataset

    return path.name, read_dataset("pairs", path, model, scratch / path.name)


def told_apart(sources: Sequence[str]) -> list[str]:
    """Paths without the folders with which all of them begin; as they stand where that leaves nothing of one, or the same."""
    paths = [Path(source).parts for source in sources]
    common = next((i for i, parts in enumerate(zip(*paths, strict=False)) if len(set(parts)) > 1), 0)
    names = ["/".join(parts[common:]) for parts in paths]
    return names if len(set(names)) == len(names) and all(names) else list(sources)


def histograms(columns: "Sequence[pd.Series[Any]]", bins: int = 24) -> list[list[tuple[float, float]]]:
    """Shares of each column's values by bin, the same bins for all, as corners of a step line; a column of nulls has none."""
    finite = [values.to_numpy(dtype=float) for values in columns]
    finite = [values[np.isfinite(values)] for values in finite]
    if not any(map(len, finite)):
        return [[] for _ in finite]
    # a few far values would squeeze all others into one bin
    low, high = (float(np.quantile(np.concatenate(finite), q)) for q in (0.005, 0.995))
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    return [_corners(np.histogram(np.clip(values, low, high), edges)[0], edges) if len(values) else [] for values in finite]


def _corners(counts: "np.ndarray[Any, Any]", edges: "np.ndarray[Any, Any]") -> list[tuple[float, float]]:
    steps = [(float(edge), float(count / counts.sum())) for i, count in enumerate(counts) for edge in (edges[i], edges[i + 1])]
    return [(float(edges[0]), 0.0), *steps, (float(edges[-1]), 0.0)]
