"""What teachers were asked and what it cost: sums over the facts that stages keep about their calls (models.teacher.metered)."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tasks import summary

Usage = dict[str, Any]  # calls, cached, input_tokens, output_tokens, cost; the last three None where nobody knows
_TOKENS = ("input_tokens", "output_tokens")


def usage_of(facts: Mapping[str, Any]) -> Usage | None:
    """What one stage used, from its `teacher`, `teacher_0`, …; None if it asked nobody."""
    found = [value for name, value in facts.items() if name.split("_")[0] == "teacher" and isinstance(value, Mapping)]
    used = total(found)
    return used if used["calls"] else None


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


def spending(run: Path) -> list[tuple[str, Usage]]:
    """(place, usage) of every finished stage that asked a teacher, each round's sum after its stages, at the end the run's."""
    stages = [(place, found["facts"]) for place in summary.places(run) if (found := summary.manifest(run / place))]
    used = [(place, usage) for place, facts in stages if (usage := usage_of(facts))]
    rows: list[tuple[str, Usage]] = []
    for group in dict.fromkeys(place.partition("/")[0] for place, _ in used):
        parts = [(place, usage) for place, usage in used if place.partition("/")[0] == group]
        rows += [*parts, (group.replace("-", " "), total(usage for _, usage in parts))]
    return [*rows, ("all", total(usage for _, usage in used))] if used else []
