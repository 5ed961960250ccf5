"""Why a run stopped, kept in its folder until it goes on: the sentence a person reads first."""

from pathlib import Path

from data_contracts.clock import now
from data_contracts.store import load_json, write_json

SILENT = "its process ended without a word: it was killed, the machine stopped, or its disk was full"


def write_failure(run: Path, sentence: str, killed: bool = False) -> None:
    """`killed`: it was stopped from outside, and did not fail by itself."""
    write_json(run / "failed.json", {"sentence": sentence, "when": now(), "killed": killed})


def read_failure(run: Path) -> str | None:
    """The sentence, or None for a run that did not stop or goes on."""
    found = load_json(run / "failed.json")
    return None if found is None else str(found["sentence"])


def was_killed(run: Path) -> bool:
    return bool(load_json(run / "failed.json", {}).get("killed"))


def clear_failure(run: Path) -> None:
    """The run goes on."""
    (run / "failed.json").unlink(missing_ok=True)
