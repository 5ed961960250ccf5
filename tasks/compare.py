"""Two rounds, or two runs, beside each other: what changed in configuration, data, scores and answers, and what is significant.

Scores are compared question by question on the questions that both answered (models.statistics.paired_test), never by looking
whether two intervals overlap.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_contracts.errors import PlumblineError
from data_contracts.flatten import flatten
from data_contracts.made_with import together
from data_contracts.store import Row, Rows, open_dataset
from models.statistics import Gain, holm, paired_test
from tasks.changes import overrides
from tasks.lineage import champions, round_number
from tasks.rank import conversations, ranked_rightly
from tasks.score import metric_name, rows_of
from tasks.summary import manifest, read_config

EXAMPLES = 4  # answers shown of each kind
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Side:
    """One of the two: a round of a run, or a whole run on human pairs (`round` is None)."""

    label: str
    folder: Path
    round: int | None
    config: dict[str, Any]

    @property
    def data(self) -> Path:
        """Where the datasets of the round lie."""
        return self.folder if self.round is None else self.folder / f"round-{self.round}"


def open_side(text: str) -> Side:
    """`FOLDER` (its champion's round) or `FOLDER#round-k`.

    Raises PlumblineError if the folder holds no run, or the round has not been evaluated.
    """
    name, mark, place = text.rpartition("#")
    if not mark or Path(text).is_dir():
        name, place = text, ""
    folder = Path(name)
    config = read_config(folder)
    if config["flow"] == "human_pairs":
        if place:
            raise PlumblineError(f"{text}: a run on human pairs has no rounds: name its folder alone")
        side, needed = Side(name, folder, None, config), "rank_after"
    else:
        number = round_number(place) if place else champions(folder)[-1]
        side, needed = Side(f"{name}#round-{number}", folder, number, config), "evaluate"
    if manifest(side.data / needed) is None:
        other = "run" if side.round is None else "round"
        raise PlumblineError(f"{side.label} has no finished {needed}: let the run go on, or name another {other}")
    return side


def compare(a: Side, b: Side) -> dict[str, Any]:
    """Everything that differs, as plain values: `config`, `software`, `data`, `scores`, `win_rates`, `answers` and `notes`.

    Each score holds A's and B's mean over the shared questions, the gain of B over A with its 95 % interval clustered by
    distinct question, its p-value, and whether that is below 5 %. The p-values of splits and source benchmarks are adjusted for
    how many there are; the overall one, which is asked for first, stands by itself.
    Raises PlumblineError if one is a run on human pairs and the other is not.
    """
    if (a.round is None) != (b.round is None):
        raise PlumblineError(
            f"{a.label} and {b.label} are of different flows, so they share no measurement: compare runs of the same flow"
        )
    found: dict[str, Any] = {"a": _name(a), "b": _name(b), "config": _config(a, b), "software": _software(a, b)}
    found |= {"data": _data(a, b), "notes": []}
    if a.round is None:
        return found | {"scores": _rankings(a, b, found["notes"]), "win_rates": [], "answers": None}
    scores, answers = _answers(a, b, found["notes"])
    return found | {"scores": scores, "win_rates": _win_rates(a, b), "answers": answers}


def _name(side: Side) -> dict[str, Any]:
    last = manifest(side.data / ("rank_after" if side.round is None else "evaluate"))
    assert last is not None
    return {"label": side.label, "round": side.round, "model": last["models"]["policy"]}


def _config(a: Side, b: Side) -> list[dict[str, Any]]:
    old, new = (flatten(side.config) | (overrides(side.folder, side.round) if side.round else {}) for side in (a, b))
    return _differing("key", old, new)


def _software(a: Side, b: Side) -> list[dict[str, Any]]:
    """Versions and machines."""
    stages = [[made for path in sorted(side.data.glob("*/manifest.json")) if (made := manifest(path.parent))] for side in (a, b)]
    return _differing("what", *map(together, stages))


def _differing(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{name: k, "a": old.get(k), "b": new.get(k)} for k in sorted(old.keys() | new.keys()) if old.get(k) != new.get(k)]


def _data(a: Side, b: Side) -> list[dict[str, Any]]:
    old, new = _measured(a), _measured(b)
    return [{"what": k, "a": old.get(k), "b": new.get(k)} for k in [*old, *(k for k in new if k not in old)]]


def _measured(side: Side) -> dict[str, Any]:
    """Counts, contrastiveness and training of a round, as its manifests tell them."""
    found: dict[str, Any] = {}
    for label, stage in (("prompts", "prompts"), ("samples", "sample"), ("pairs made", "pair"), ("pairs read", "import")):
        if stage_manifest := manifest(side.data / stage):
            found[label] = stage_manifest["rows"]
    if "method" in side.config and side.round != 0:
        method = side.config["method"]
        found["method"] = method if isinstance(method, str) else method["name"]
    if clean := manifest(side.data / "validate_pairs"):
        found |= {"pairs kept": clean["rows"], "pairs quarantined": clean["facts"]["quarantined"]}
        found |= {name.replace("_", " "): value for name, value in clean["facts"].get("metrics", {}).items()}
    if trained := manifest(side.data / "align"):
        facts = trained["facts"]
        found |= {"started from": trained["models"]["policy"], "reference": trained["models"]["reference"]}
        found |= {name: facts[name] for name in ("objective", "steps", "verdict") if name in facts}
    return found


def _answers(a: Side, b: Side, notes: list[str]) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    old, new = open_dataset(a.data / "evaluate"), open_dataset(b.data / "evaluate")
    names = [metric_name(d.facts["benchmark"], d.facts["parser"], "") for d in (old, new)]
    if names[0] != names[1]:
        notes.append(f"A was scored as {names[0]}* and B as {names[1]}*: such scores are not comparable, so none is shown")
        return [], None
    before = {row["question_id"]: row for row in old.records()}
    rows = [row for row in new.records() if before.get(row["question_id"], {}).get("question") == row["question"]]
    if not rows:
        notes.append("A and B share no question, so no score is compared")
        return [], None
    if len(rows) < max(old.rows, new.rows):
        notes.append(f"scores are over the {len(rows)} questions that both answered (A {old.rows}, B {new.rows})")
    earlier = [before[row["question_id"]] for row in rows]
    if any(x["prompt"] != y["prompt"] for x, y in zip(earlier, rows, strict=True)):
        notes.append("the questions were put in other words to A than to B")
    parts = ["overall", *sorted({row["split"] for row in rows}), *sorted({row["benchmark"] for row in rows})]
    both = {f"{names[0]}{part}": (rows_of(part, earlier), rows_of(part, rows)) for part in parts}
    return gains(both), _changed(earlier, rows)


def gains(both: Mapping[str, tuple[Rows, Rows]]) -> list[dict[str, Any]]:
    """Of each metric, whose old and new rows are given, how much better the new ones are. The first is the one that was asked."""
    found = {metric: paired_test(new, old, CONFIDENCE) for metric, (old, new) in both.items()}
    first, *others = (gain.p for gain in found.values())
    return [
        _gain(metric, *both[metric], gain, p) for (metric, gain), p in zip(found.items(), [first, *holm(others)], strict=True)
    ]


def _gain(metric: str, old: Rows, new: Rows, gain: Gain, p: float) -> dict[str, Any]:
    a, b = (sum(row["score"] for row in rows) / len(rows) for rows in (old, new))
    told = {"gain": gain.mean, "low": gain.low, "high": gain.high, "p": p, "significant": p < 1 - CONFIDENCE}
    return {"metric": metric, "questions": len(new), "a": a, "b": b} | told


def _changed(old: Rows, new: Rows) -> dict[str, Any]:
    """How many answers became right or wrong (by half a point or more), and the first few of distinct questions."""

    def some(found: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
        distinct = list({y["question"]: (x, y) for x, y in reversed(found)}.values())[::-1]
        shown = [
            {"question_id": y["question_id"], "prompt": y["prompt"], "a": x["response"], "b": y["response"]}
            | {"score_a": x["score"], "score_b": y["score"]}
            for x, y in distinct[:EXAMPLES]
        ]
        return {"answers": len(found), "examples": shown}

    both = list(zip(old, new, strict=True))
    return {
        "wrong_to_right": some([(x, y) for x, y in both if y["score"] - x["score"] >= 0.5]),
        "right_to_wrong": some([(x, y) for x, y in both if x["score"] - y["score"] >= 0.5]),
    }


def _win_rates(a: Side, b: Side) -> list[dict[str, Any]]:
    """What each round recorded against the champion it met; that may have been the other one."""
    rates = []
    for side, other in ((a, b), (b, a)):
        found = manifest(side.data / "win_rate")
        if found is None:
            continue
        rival, met = manifest(other.data / "evaluate"), found["parents"][-1]["key"]
        against = other.label if rival is not None and rival["key"] == met else "the champion it met"
        facts = {name: found["facts"][name] for name in ("win_rate", "low", "high", "judge")}
        rates.append({"of": side.label, "against": against} | facts)
    return rates


def _rankings(a: Side, b: Side, notes: list[str]) -> list[dict[str, Any]]:
    """How often the chosen answer of a held-out pair is the likelier one, on the pairs that both ranked."""
    old, new = _ranked(a), _ranked(b)
    both = [key for key in new if key in old]
    if not both:
        notes.append("A and B held out different pairs, so no ranking is compared")
        return []
    if len(both) < max(len(old), len(new)):
        notes.append(f"rankings are over the {len(both)} held-out pairs that both ranked (A {len(old)}, B {len(new)})")
    before, after = ([ranked_rightly(side[key], key[1]) for key in both] for side in (old, new))
    return gains({"ranking accuracy": (before, after)})


def _ranked(side: Side) -> dict[tuple[Any, ...], Row]:
    """Its rankings by what tells the pairs of two files apart."""
    openings = conversations(open_dataset(side.data / "held_out"))
    rows = open_dataset(side.data / "rank_after").records()
    return {(row["pair_id"], openings[row["pair_id"]], row["chosen_tokens"], row["rejected_tokens"]): row for row in rows}
