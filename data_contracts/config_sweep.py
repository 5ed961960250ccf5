"""A sweep: one configuration, and the keys that vary. Every combination is a cell, which is a run of its own.

name: paper_grid
base: demo.yaml                       # relative to this file, as are paths among the values
set: {rounds: 1}                      # changes that hold for every cell
grid:
  seed: [0, 1, 2]                     # an axis: a key and its values
  objective:                          # or a name, and for each of its values the keys that it sets together
    sft: {align.objective: {name: sft}}
    dpo: {align.objective: {name: dpo, beta: 0.1}}
"""

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from data_contracts.config import HumanPairsConfig, RoundsConfig
from data_contracts.config_base import Name, Strict
from data_contracts.errors import PlumblineError
from data_contracts.load_config import load_config, read_yaml, sentence
from data_contracts.parse_yaml import dump_yaml, parse_yaml

SEED = "seed"  # the axis that tables and figures take means over


class SweepConfig(Strict):
    name: Name
    base: str
    set: dict[str, Any] = Field(default_factory=dict)
    grid: Annotated[dict[str, list[Any] | dict[str, dict[str, Any]]], Field(min_length=1)]


@dataclass(frozen=True)
class Place:
    """`point` maps each axis to the label of its value; `label` joins them and names the cell's folder."""

    label: str
    point: dict[str, str]


@dataclass(frozen=True)
class Cell(Place):
    config: RoundsConfig | HumanPairsConfig


@dataclass(frozen=True)
class Grid:
    """A sweep as its folder knows it."""

    name: str
    axes: dict[str, list[str]]  # labels by axis, in the order of the file
    cells: Sequence[Place]


@dataclass(frozen=True)
class Sweep(Grid):
    """And as its file does: with every cell's configuration."""

    cells: Sequence[Cell]


def load_sweep(path: Path) -> Sweep:
    """The sweep in `path` with every cell's configuration checked.

    Raises PlumblineError naming the key, and the cell where only some are wrong.
    """
    tree = read_yaml(path)
    if "flow" in tree:
        raise PlumblineError(f"{path} describes a run, not a sweep: use plumbline run {path}")
    try:
        config = SweepConfig.model_validate(tree)
    except ValidationError as error:
        raise PlumblineError(
            f"{sentence(error, str(path), union='', roots=(SweepConfig,))} (see configs/paper_grid.yaml)"
        ) from None
    axes = {axis: _values(path, axis, values) for axis, values in config.grid.items()}
    cells = []
    for combination in itertools.product(*(values.items() for values in axes.values())):
        point = {axis: label for axis, (label, _) in zip(axes, combination, strict=True)}
        keys = dict(config.set)
        for _, some in combination:
            keys |= some
        cells.append(_cell(path, config, point, keys))
    labels = [cell.label for cell in cells]
    if not all(labels):
        raise PlumblineError(
            f"{path}: no folder can be named after a cell with neither a letter nor a digit: name the values of its axes"
        )
    if len({cell.config.engine for cell in cells if isinstance(cell.config, RoundsConfig)}) > 1:
        raise PlumblineError(
            f"{path}: cells share one engine and what it has answered, so engine cannot vary: make several sweeps"
        )
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise PlumblineError(f"{path}: two cells are called {twice!r}: give the values of an axis names that differ")
    return Sweep(config.name, {axis: list(values) for axis, values in axes.items()}, cells)


def _values(path: Path, axis: str, values: list[Any] | dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What each label of an axis sets."""
    found = values if isinstance(values, dict) else {_label(value): {axis: value} for value in values}
    if not values or len(found) < len(values):
        raise PlumblineError(f"{path}: grid.{axis} needs values that differ from each other")
    return found


def _cell(path: Path, sweep: SweepConfig, point: dict[str, str], keys: dict[str, Any]) -> Cell:
    label = re.sub(r"[^a-z0-9_-]+", "-", "-".join(point.values()).lower()).strip("-_")
    sets = [
        f"{key}={json.dumps(value, ensure_ascii=False, default=str)}"
        for key, value in {**keys, "name": f"{sweep.name}-{label}"}.items()
    ]
    try:
        return Cell(label, point, load_config(path.parent / sweep.base, sets, path.parent))
    except PlumblineError as error:
        raise PlumblineError(f"{path}: the cell {label} is impossible: {error}") from None


def _label(value: Any) -> str:
    return str(value["name"]) if isinstance(value, dict) and "name" in value else str(value)


def dump_sweep(sweep: Grid) -> str:
    cells = [{"label": c.label, **c.point} for c in sweep.cells]
    return dump_yaml({"name": sweep.name, "axes": sweep.axes, "cells": cells})


def read_sweep(text: str) -> Grid:
    """What `dump_sweep` wrote."""
    tree = parse_yaml(text, "sweep.yaml")
    cells = [Place(cell["label"], {axis: cell[axis] for axis in tree["axes"]}) for cell in tree["cells"]]
    return Grid(tree["name"], tree["axes"], cells)
