"""What a run does otherwise than its file says: `--set` on the command line, and for single rounds a deployment's form.

`changes.json` in the run folder keeps the first, `overrides.json` in a round's folder the second.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_contracts.flatten import flatten
from data_contracts.mask import mask
from data_contracts.store import load_json, write_json
from tasks.summary import read_config

TITLE = "changed on the command line"


@dataclass(frozen=True)
class Change:
    """Values as a person reads them; `was` is None where the file names no such key."""

    key: str
    was: str | None
    now: str

    def __str__(self) -> str:
        return self.now if self.was is None else f"{self.was} → {self.now}"


def write_changes(run: Path, replaced: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Keep what the command line replaced (load_config.replaced) in `config`, the run's own. Changes of an earlier start stay.

    Keys that are gone from the configuration, and those with the file's value, are no changes.
    """
    now, kept = flatten(config), {change.key: change.was for change in read_changes(run)}
    first = {key: None if value is None else _words(value) for key, value in replaced.items()} | kept
    named = {key: next((k for k in (key, f"{key}.name") if k in now), None) for key in first}  # method: clair, and its long form
    found = [Change(key, first[key], _words(now[name])) for key, name in named.items() if name is not None]
    found = [change for change in found if change.was != change.now]
    if found or kept:
        write_json(run / "changes.json", [asdict(change) for change in found])


def read_changes(run: Path) -> list[Change]:
    """What the command line changed of the run's file."""
    return [Change(**entry) for entry in load_json(run / "changes.json", [])]


def overrides(run: Path, number: int) -> dict[str, float]:
    """Keys and values of the configuration that only hold for round `number`."""
    found: dict[str, float] = load_json(run / f"round-{number}" / "overrides.json", {})
    return found


def round_changes(run: Path, number: int) -> list[Change]:
    """What round `number` does otherwise than its run."""
    config = flatten(read_config(run))
    found = {key: (_words(config.get(key)), _words(value)) for key, value in overrides(run, number).items()}
    return [Change(key, was, now) for key, (was, now) in found.items() if was != now]


def _words(value: Any) -> str:
    text = "none" if value is None else str(value).lower() if isinstance(value, bool) else mask(str(value))
    return text if len(text) <= 200 else f"{text[:199]}…"
