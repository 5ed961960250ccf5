"""What lies where in a run folder."""

import re
from pathlib import Path


def round_name(number: int) -> str:
    """What people read for a round or its model; 0 is the start."""
    return f"round {number}" if number else "start"


def folder_name(folder: str) -> str:
    """The same for a round's folder; "" is a run without rounds."""
    return round_name(int(folder.removeprefix("round-"))) if folder else ""


def rounds_with(run: Path, name: str) -> list[int]:
    """The numbers of the rounds whose folder holds `name`, ascending. A copy that somebody put aside (`round-2.old`) is none."""
    found = (re.fullmatch(r"round-(\d+)", path.relative_to(run).parts[0]) for path in run.glob(f"round-*/{name}"))
    return sorted(int(match[1]) for match in found if match)
