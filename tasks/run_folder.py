"""What lies where in a run folder."""

import re
from pathlib import Path


def rounds_with(run: Path, name: str) -> list[int]:
    """The numbers of the rounds whose folder holds `name`, ascending. A copy that somebody put aside (`round-2.old`) is none."""
    found = (re.fullmatch(r"round-(\d+)", path.relative_to(run).parts[0]) for path in run.glob(f"round-*/{name}"))
    return sorted(int(match[1]) for match in found if match)
