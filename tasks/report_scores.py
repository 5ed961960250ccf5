"""The report's scores: intervals, charts, and which differences between models are more than chance."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from data_contracts.json_text import is_number
from data_contracts.store import Rows, open_dataset
from models.statistics import holm, paired_test
from tasks import summary
from tasks.charts import Series, chart
from tasks.lineage import champions
from tasks.rank import conversations, ranked_rightly, reward_accuracy
from tasks.run_folder import folder_name, round_name

Answers = dict[int, Rows]  # those of each evaluated model by its round; 0 is the start
_SPLITS = {"overall": "s1", "free-form": "s2", "multiple-choice": "s3"}
_COLUMNS = ["question_id", "question", "benchmark", "prompt", "response", "parsed", "score"]


def read_answers(run: Path, rounds: int) -> Answers:
    """The answers of the start and of every evaluated round."""
    folders = {k: run / f"round-{k}" / "evaluate" for k in range(rounds + 1)}
    return {k: open_dataset(f).table().select(_COLUMNS).to_pylist() for k, f in folders.items() if summary.manifest(f)}


def compared(run: Path, answers: Answers) -> list[dict[str, Any]]:
    """Each round beside the champion it met, champion and latest round beside the start: overall gain, interval and p-value.

    The p-values are adjusted for how many there are (models.statistics.holm). Models asked other questions are left out.
    """
    met = [(k, champions(run, k)[-1]) for k in answers if k]
    asked = dict.fromkeys([*met, *((k, 0) for k in (champions(run)[-1], max(answers, default=0)) if k)])
    couples = [(new, old) for new, old in asked if new in answers and old in answers and _alike(answers[new], answers[old])]
    gains = [paired_test(answers[new], answers[old]) for new, old in couples]
    verdicts = []
    for (new, old), gain, p in zip(couples, gains, holm([gain.p for gain in gains]), strict=True):
        found = {"new": round_name(new), "old": round_name(old), "gain": gain, "p": p}
        verdicts.append(found | {"verdict": in_words(gain.mean, p)})
    return verdicts


def in_words(gain: float, p: float) -> str:
    return "no difference shown" if p >= 0.05 else "better" if gain > 0 else "worse"


def ranked(run: Path) -> dict[str, Any] | None:
    """The same for a run on human pairs: held-out pairs ranked rightly after and before, and what a length rule scores.

    Only their number, 0, where no held-out row is a whole pair.
    """
    if not (summary.manifest(run / "rank_before") and summary.manifest(run / "rank_after")):
        return None
    before, after = open_dataset(run / "rank_before"), open_dataset(run / "rank_after")
    if not before.rows:
        return {"n": 0}
    openings = conversations(open_dataset(run / "held_out"))
    new, old = ([ranked_rightly(row, openings[row["pair_id"]]) for row in data.records()] for data in (after, before))
    return {
        "n": before.rows,
        "shorter": before.facts["shorter"],
        "reward": reward_accuracy(after, before, openings),
        "gain": paired_test(new, old),
        "turned": sum(a["score"] != b["score"] for a, b in zip(new, old, strict=True)),
        "old": before.facts["accuracy"]["mean"],
        "new": after.facts["accuracy"]["mean"],
    }


def _alike(new: Rows, old: Rows) -> bool:
    return {row["question_id"]: row["prompt"] for row in new} == {row["question_id"]: row["prompt"] for row in old}


def score_chart(rows: Sequence[summary.Row]) -> Markup:
    measured = [row for row in rows if row.scores]
    names = list(summary.RANKINGS) if rows[0].label == "before" else list(_SPLITS)
    styles = zip(names, _SPLITS.values(), strict=False)
    series = [Series(name, style, *_points([row.scores.get(name) for row in measured])) for name, style in styles]
    return chart("Scores with 95 % intervals", *_axis(measured, "share right"), series, _names(measured))


def win_chart(rows: Sequence[summary.Row]) -> Markup | None:
    measured = [row for row in rows if row.win_rate]
    if not measured:
        return None
    wins = Series("wins and half the ties", "s1", *_points([row.win_rate for row in measured]))
    even = Series("even", "s2", [(-0.5, 0.5), (len(measured) - 0.5, 0.5)])
    return chart("Win rate against the previous model", *_axis(measured, "win rate"), [wins, even], _names(measured))


def _axis(rows: Sequence[summary.Row], unit: str) -> tuple[str, str]:
    return "model" if rows and rows[0].label == "before" else "round", unit


def _names(rows: Sequence[summary.Row]) -> list[str]:
    """What stands below the axis "round": `start`, `1`, `2`."""
    return [row.label.removeprefix("round ") for row in rows]


def _points(scores: Sequence[summary.Score | None]) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Points and bars of what is there, at its position."""
    found = [(float(i), score) for i, score in enumerate(scores) if score]
    return [(i, score["mean"]) for i, score in found], [(score["low"], score["high"]) for _, score in found]


def by_benchmark(run: Path, rounds: int) -> dict[str, Any] | None:
    """What the scores are called, how the answers drift from model to model, and their scores by source benchmark."""
    places = {round_name(k): run / f"round-{k}" / "evaluate" for k in range(rounds + 1)}
    facts = {label: found["facts"] for label, folder in places.items() if (found := summary.manifest(folder))}
    if not facts:
        return None
    first = next(iter(facts.values()))
    rows = [
        (name, [f[group].get(name) for f in facts.values()])
        for group in ("metrics", "benchmarks")
        for name in sorted({name for f in facts.values() for name in f[group]})
    ]
    metric = f"{first['benchmark']}.{first['parser']}"
    return {"metric": metric, "labels": list(facts), "facts": list(facts.values()), "benchmarks": rows}


_MEASURES = ("harness", "win_rate", "preference_metrics")  # stages that measure, and any whose name begins so


def further(run: Path) -> dict[str, Any]:
    """Whatever else was measured, by the name of its stage and fact: harness tasks, win rates, preference metrics."""
    rows: dict[str, dict[str, str]] = {}
    labels: dict[str, None] = {}
    for place in summary.places(run):
        group, _, stage = place.rpartition("/")
        if stage.startswith(_MEASURES) and (found := summary.manifest(run / place)):
            label = folder_name(group)
            labels[label] = None
            for name, value in _leaves({k: v for k, v in found["facts"].items() if k.split("_")[0] != "teacher"}):
                rows.setdefault(f"{stage}.{name}".replace("_", " "), {})[label] = value
    table = [(name, [row.get(label, summary.MISSING) for label in labels]) for name, row in rows.items()]
    return {"labels": list(labels), "rows": table}


def _leaves(facts: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Numbers by their path; a mean or a rate that has an interval with it."""
    middle = next((k for k in ("mean", "rate", "win_rate") if k in facts), None) if {"low", "high"} <= facts.keys() else None
    if middle:
        yield prefix.rstrip(".") or middle, f"{facts[middle]:.3f} ({facts['low']:.3f} to {facts['high']:.3f})"
    for name, value in facts.items():
        if middle and name in (middle, "low", "high"):
            continue
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        elif is_number(value):
            yield f"{prefix}{name}", str(value) if isinstance(value, int) else f"{value:.3g}"
