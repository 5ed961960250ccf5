"""What teachers were asked and what it cost: sums over the facts that stages keep about their calls (models.teacher.metered)."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data_contracts.store import load_json
from tasks import summary
from tasks.run_folder import folder_name

Usage = dict[str, Any]  # calls, cached, input_tokens, output_tokens, cost; the last three None where nobody knows
_TOKENS = ("input_tokens", "output_tokens")


def own_facts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's facts, in which a call that another run of the sweep paid for, whose dataset this one is, has cost nothing."""
    facts = dict(manifest["facts"])
    for name, used in facts.items() if manifest.get("linked") else ():
        if _is_usage(name, used):
            cost = None if used["cost"] is None else 0.0
            facts[name] = {**used, "cached": used["calls"], "input_tokens": 0, "output_tokens": 0, "cost": cost}
    return facts


def usage_of(facts: Mapping[str, Any]) -> Usage | None:
    """What one stage used, from its `teacher`, `teacher_0`, …; None if it asked nobody."""
    found = [value for name, value in facts.items() if _is_usage(name, value)]
    used = total(found)
    return used if used["calls"] else None


def has_answered(run: Path) -> bool:
    """Whether a finished stage of a run in rounds holds what a teacher said."""
    return any(usage_of(load_json(path)["facts"]) for path in run.glob("round-*/*/manifest.json"))


def total(usages: Iterable[Mapping[str, Any]]) -> Usage:
    """Tokens that one part does not know are unknown in the sum; a part without a price costs nothing."""
    parts = list(usages)
    costs = [part["cost"] for part in parts if part["cost"] is not None]
    known = {name: [part[name] for part in parts] for name in _TOKENS}
    return {
        "calls": sum(part["calls"] for part in parts),
        "cached": sum(part["cached"] for part in parts),
        **{name: None if None in counts else sum(counts) for name, counts in known.items()},
        "cost": sum(costs) if costs else None,
    }


def spending(run: Path) -> dict[str, Any]:
    """`seconds` and `usage` of every finished stage, in `groups` as the folders are, of each group, and of the run.

    `share` is a stage's time in percent of the longest one's.
    """
    done = [state for state in summary.status(run) if state.seconds is not None]
    longest = max((state.seconds or 0.0 for state in done), default=0.0) or 1.0
    groups: dict[str, list[dict[str, Any]]] = {}
    for state in done:
        group, _, stage = state.place.rpartition("/")
        found = summary.manifest(run / state.place)
        seconds = state.seconds or 0.0
        entry = {
            "stage": stage,
            "seconds": seconds,
            "share": 100 * seconds / longest,
            "usage": usage_of(own_facts(found) if found else {}),
        }
        groups.setdefault(folder_name(group), []).append(entry)
    sums = [{"label": label, "stages": stages, **_sum(stages)} for label, stages in groups.items()]
    return {"groups": sums, **_sum(sums)}


def _is_usage(name: str, value: Any) -> bool:
    return name.split("_")[0] == "teacher" and isinstance(value, Mapping)


def _sum(parts: list[dict[str, Any]]) -> dict[str, Any]:
    used = [part["usage"] for part in parts if part["usage"]]
    return {"seconds": sum(part["seconds"] for part in parts), "usage": total(used) if used else None}
