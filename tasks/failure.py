"""Why a run stopped, kept in its folder until it goes on: the sentence a person reads first."""

import json
import time
from pathlib import Path

from data_contracts.store import write_text

SILENT = "its process ended without a word: it was killed, or the machine stopped"


def write_failure(run: Path, sentence: str, killed: bool = False) -> None:
    """`killed`: it was stopped from outside, and did not fail by itself."""
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    told = {"sentence": sentence, "when": when, "killed": killed}
    write_text(run / "failed.json", json.dumps(told, ensure_ascii=False))


def read_failure(run: Path) -> str | None:
    """The sentence, or None for a run that did not stop or goes on."""
    path = run / "failed.json"
    return str(json.loads(path.read_text(encoding="utf-8"))["sentence"]) if path.exists() else None


def was_killed(run: Path) -> bool:
    path = run / "failed.json"
    return path.exists() and bool(json.loads(path.read_text(encoding="utf-8")).get("killed"))


def clear_failure(run: Path) -> None:
    """The run goes on."""
    (run / "failed.json").unlink(missing_ok=True)
