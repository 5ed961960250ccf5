"""What a person reads on Prefect's pages: progress while it runs, tables of counts and gates, decisions and failures in words."""

import html
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import runtime
from prefect.artifacts import Artifact, LinkArtifact, MarkdownArtifact, ProgressArtifact, TableArtifact

from data_contracts.flatten import flatten
from flows.outbox import send
from flows.pace import Pace
from flows.session import current
from flows.stopped import sentence
from models.training.progress import Progress
from tasks.changes import Change

_EVERY = 3.0  # seconds between two updates of a progress bar: each is a request


def table(label: str, facts: Mapping[str, Any]) -> None:
    """A table artifact of the plain values in `facts`; a gate's contracts have a table of their own."""
    told = flatten({k: v for k, v in facts.items() if k != "contracts"})
    plain = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in told.items() if isinstance(v, (str, int, float))}
    _show(TableArtifact(key=_key(label), table=[{"what": k, "value": v} for k, v in plain.items()], description=label))


def gate(label: str, folder: Path) -> None:
    """A table of every contract, if a gate left its `gate.json` in `folder`: why it is there, and how many rows broke it.

    The examples stay in the file: row ids are text from users' files.
    """
    path = folder / "gate.json"
    if not path.exists():
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = [
        {
            "contract": entry["contract"],
            "holds": "yes" if entry["kept"] else "no",
            "broken rows": entry.get("broken", ""),
            "measured": "" if entry.get("observed") is None else round(entry["observed"], 4),
            "why": entry["why"],
        }
        for entry in found["contracts"]
    ]
    counts = f"{found['kept']} of {found['checked']} rows kept, {found['quarantined']} quarantined"
    _show(TableArtifact(key=_key(f"{label} gate"), table=rows, description=f"{label}: {counts}"))


def markdown(label: str, text: str) -> None:
    """A Markdown artifact. `text` must be ours: nothing here escapes a model's words."""
    _show(MarkdownArtifact(key=_key(label), markdown=text, description=label))


def link(label: str, address: str) -> None:
    _show(LinkArtifact(key=_key(label), link=address, link_text=label, description=label))


def changes(label: str, found: Sequence[Change]) -> None:
    """A table of what is done otherwise than the file says, if anything is."""
    rows = [{"key": c.key, "in the file": "" if c.was is None else c.was, "here": c.now} for c in found]
    if rows:
        _show(TableArtifact(key=_key(label), table=rows, description=label))


def failure(error: BaseException, folder: Path) -> None:
    """Say what stopped the run and what to do."""
    words = html.escape(" ".join(sentence(error).split()))  # it may quote a file or a server
    text = f"## Stopped\n\n<pre>{words}</pre>\n\nWhat was finished is kept. When the cause is gone, "
    text += "**Retry** here or " if runtime.deployment.id else ""  # nobody would serve a retry of a run that was started by hand
    markdown("failure", f"{text}`plumbline resume {html.escape(str(folder))}` goes on where it stopped.")


def progress(label: str, shown: Progress) -> Progress:
    """`shown` (the terminal's bar), and beside it a progress artifact, told now and then and at the end: how far, how fast, how
    long still."""
    made, last, pace, key = list[UUID](), time.monotonic(), Pace(), _key(f"{label} progress")

    def report(done: int, total: int, tokens_per_second: float | None = None, /) -> None:
        nonlocal last
        shown(done, total, tokens_per_second)
        now, words = time.monotonic(), f"{label}: {pace.words(done, total, tokens_per_second)}"
        if total <= 0 or (now - last < _EVERY and done < total):
            return
        last = now
        _show(ProgressArtifact(key=key, progress=min(100.0, 100.0 * done / total), description=words), made)

    return report


def _show(artifact: Artifact, made: list[UUID] | None = None) -> None:
    send(current().folder, artifact, made)


def _key(label: str) -> str:
    """On a server for many, an artifact's history must not mix policies: its key begins with the run's name."""
    return "-".join("".join(c if c.isalnum() else " " for c in f"{_run()} {label}".lower()).split())


def _run() -> str:
    return current().config.name
