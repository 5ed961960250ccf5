"""Which flow runs worked on a folder and may not have ended, for all that Prefect knows: `flow_runs.json`, kept under its lock.

The book names the lock by its inode: a copy of the folder has another lock, and whoever is in its book may work on the original.
"""

from pathlib import Path
from typing import Any

from data_contracts.store import load_json, write_json


def read(folder: Path) -> dict[str, int]:
    """The id and the attempt of each."""
    found: dict[str, int] = _open(folder).get("runs", {})
    return found


def sign(folder: Path, others: dict[str, int], own: str, attempt: int) -> None:
    """Here works `own` from now on, and `others` are still to be told of."""
    _write(folder, {"runs": {**others, own: attempt}, "working": own})


def sign_out(folder: Path) -> None:
    """Who worked here has come to its end."""
    book = _open(folder)
    book["runs"].pop(book.pop("working"))
    _write(folder, book)


def settle(folder: Path, others: dict[str, int]) -> None:
    """Nobody works here, and everybody is told of but `others`."""
    last = worked_last(folder)
    _write(folder, {"runs": others} | ({"working": last} if last in others else {}))


def worked_last(folder: Path) -> str | None:
    """Who worked here last and did not come to its end."""
    found: str | None = _open(folder).get("working")
    return found


def was_cut_short(folder: Path) -> bool:
    """Whether who worked here last did not come to its end. It may be at work, if somebody holds the lock."""
    return worked_last(folder) is not None


def _open(folder: Path) -> dict[str, Any]:
    path, lock = folder / "flow_runs.json", folder / ".lock"
    book: dict[str, Any] = load_json(path, {}) if lock.exists() else {}
    return book if book and book.get("lock") == lock.stat().st_ino else {}


def _write(folder: Path, book: dict[str, Any]) -> None:
    write_json(folder / "flow_runs.json", {"lock": (folder / ".lock").stat().st_ino, **book})
