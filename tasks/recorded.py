"""Recorded verdicts: comparisons that somebody already judged, read from JSON lines. A judge is measured against them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_contracts.errors import PlumblineError
from data_contracts.json_text import is_number, json_lines
from tasks.comparison import POINTS, Comparison, said
from tasks.prompts import read_messages

FIELDS = ("prompt", "first", "second", "first_wins")


@dataclass(frozen=True)
class Recorded:
    """`first_wins` is the probability, 0 to 1, that the first answer was preferred; 0.5 is a tie."""

    comparison: Comparison
    first_wins: float

    @property
    def said(self) -> str:
        return said(self.first_wins)


def read_recorded(path: Path, names: Mapping[str, str]) -> list[Recorded]:
    """One a line. `names` maps some of `FIELDS` to what the file calls them. The prompt is text or role/content messages, and
    `first_wins` a number from 0 to 1 or one of first, second and tie.

    Raises PlumblineError for an unknown field, or with the number of the first line that cannot be read.
    """
    unknown = sorted(set(names) - set(FIELDS))
    if unknown:
        raise PlumblineError(f"--field {unknown[0]}=… is not a field: use {', '.join(FIELDS)}")
    called = {field: names.get(field, field) for field in FIELDS}
    rows = [_read(row, called, f"{path}:{number}") for number, row in json_lines(path, "recorded verdicts")]
    if not rows:
        raise PlumblineError(f"{path} is empty: give recorded verdicts to measure the judge against")
    return rows


def _read(row: Any, called: Mapping[str, str], where: str) -> Recorded:
    missing = [name for name in called.values() if not isinstance(row, dict) or name not in row]
    if missing:
        raise PlumblineError(f"{where} has no {missing[0]!r}: give the key's name with --field prompt=NAME and so on")
    prompt, first, second, wins = (row[called[field]] for field in FIELDS)
    if not (isinstance(first, str) and isinstance(second, str)):
        raise PlumblineError(f"{where}: the answers must be text")
    return Recorded(Comparison(read_messages(prompt, where), first, second), _probability(wins, where))


def _probability(wins: Any, where: str) -> float:
    if isinstance(wins, str) and wins in ("first", "second", "tie"):
        return POINTS[wins]
    if is_number(wins) and 0 <= wins <= 1:
        return float(wins)
    raise PlumblineError(f"{where}: first_wins is {wins!r}, must be a number from 0 to 1, or first, second or tie")
