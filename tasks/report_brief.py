"""The report's beginning: what a person wants to know in ten seconds.

Is the new model better, by how much and how surely, why was it promoted or not, what did that cost, and what went wrong?
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks import summary
from tasks.failure import read_failure
from tasks.lineage import champions, last_decided, read_rollbacks
from tasks.page import seconds
from tasks.promote import read_decision
from tasks.report_scores import in_words
from tasks.run_folder import round_name
from tasks.selection import selection_note
from tasks.sweep import is_cell


@dataclass(frozen=True)
class Note:
    """`kind` is good, bad, warn or plain; `more` a section of the page and what its link says."""

    kind: str
    title: str
    text: str
    more: tuple[str, str] | None = None


def brief(
    run: Path,
    rows: Sequence[summary.Row],
    gains: Sequence[dict[str, Any]],
    ranking: dict[str, Any] | None,
    cost: dict[str, Any],
    health: dict[str, Any],
) -> list[Note]:
    """From what stopped the run to what came through its gates; `ranking` is that of a run on human pairs."""
    notes = []
    if sentence := read_failure(run):
        said = f"{sentence[:1].upper()}{sentence[1:]}".rstrip(".")
        where = next((f" at {stage.place}" for stage in summary.status(run) if stage.state == "next"), "")
        again = "plumbline sweep" if is_cell(run) else "plumbline resume"
        notes.append(Note("bad", "Stopped", f"{said}. What was finished is kept: {again} goes on{where}."))
    found = _ranked(ranking) if ranking else _champion(run, rows, gains)
    notes += [found] if found else []
    notes += [_back(back) for back in read_rollbacks(run)]
    if note := selection_note(run):
        notes.append(Note("warn", "Read with care", note))
    if (number := last_decided(run)) and (decision := read_decision(run / f"round-{number}" / "decision.json")):
        notes.append(
            Note("good" if decision.promoted else "plain", f"Round {number}", decision.reason, ("training", "all rounds"))
        )
    if cost["groups"]:
        notes.append(Note("plain", "Cost", _cost(cost), ("cost", "by stage")))
    if health["gates"]:
        notes.append(_data(health))
    return notes


def _champion(run: Path, rows: Sequence[summary.Row], gains: Sequence[dict[str, Any]]) -> Note | None:
    number = champions(run)[-1]
    score = next((row.scores.get("overall") for row in rows if row.label == round_name(number)), None)
    if not score:
        return None
    name = f"Round {number}" if number else "The start"
    said = f"{name} with {score['mean']:.3f} overall ({score['low']:.3f} to {score['high']:.3f})"
    for found in gains:
        if (found["new"], found["old"]) == (round_name(number), "start"):
            g = found["gain"]
            said += f", {g.mean:+.3f} on the start ({g.low:+.3f} to {g.high:+.3f}): {found['verdict']}"
    if not number and last_decided(run) and not read_rollbacks(run):
        said += ": no round was better by the rule of promotion"
    return Note("good" if number else "plain", "Champion", f"{said}.", ("scores", "scores"))


def _ranked(ranking: dict[str, Any]) -> Note:
    if not ranking["n"]:
        return Note("plain", "Result", "No held-out row is a whole pair, so nothing could be ranked.", ("scores", "ranking"))
    pairs = f"{ranking['n']} held-out pair{'s' * (ranking['n'] != 1)}"
    if not ranking["turned"]:  # an interval of no width would claim to be sure
        said = f"Ranking accuracy stayed at {ranking['new']:.3f}: none of {pairs} is ranked otherwise."
        return Note("plain", "Result", said, ("scores", "ranking"))
    g, old, new = ranking["gain"], ranking["old"], ranking["new"]
    verdict = in_words(g.mean, g.p)
    said = f"Ranking accuracy on {pairs} went from {old:.3f} to {new:.3f}, "
    said += f"{g.mean:+.3f} ({g.low:+.3f} to {g.high:+.3f}): {verdict}."
    return Note(
        "good" if verdict == "better" else "bad" if verdict == "worse" else "plain", "Result", said, ("scores", "ranking")
    )


def _back(back: Any) -> Note:
    when = back.when[:16].replace("T", " ")
    way = f"From {round_name(back.source)} to {round_name(back.to)} on {when} UTC"
    return Note("warn", "Rolled back by hand", f"{way}: {back.reason}")


def _cost(cost: dict[str, Any]) -> str:
    said, used = f"{seconds(cost['seconds'])} of work", cost["usage"]
    if not used:
        return f"{said}; no teacher was asked."
    said += f"; {used['calls']:,} teacher calls"
    said += f", {used['cached']:,} of them from the journal" if used["cached"] else ""
    return said + ("." if used["cost"] is None else f", {used['cost']:.4g} by the teacher's price.")


def _data(health: dict[str, Any]) -> Note:
    lost, stopped = sum(gate["quarantined"] for gate in health["gates"]), [g["place"] for g in health["gates"] if g["stopped"]]
    warnings = len(health["warnings"]) + sum(bool(found["found"]) for found in health["contamination"])
    said = "No row was quarantined" if not lost else f"{lost:,} row{'s' * (lost != 1)} quarantined"
    said += f", {warnings or 'no'} warning{'s' * (warnings != 1)}"
    said += f"; {stopped[-1]} stopped the run" if stopped else ""
    return Note("bad" if stopped else "warn" if warnings else "plain", "Data", f"{said}.", ("data", "gates and warnings"))
