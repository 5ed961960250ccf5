"""The run as one page: report.html is self-contained, opens from disk, and asks no network for anything.

Everything that a model or a file wrote is escaped (tasks/page.py), so that a text which looks like markup stays text.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from data_contracts.store import Rows, open_dataset
from tasks import summary
from tasks.charts import Series, chart
from tasks.page import render_page
from tasks.pair import method_name
from tasks.pair_cards import COLUMNS, card
from tasks.promote import read_decision
from tasks.rank import reward_accuracy
from tasks.spending import spending

PAIRS_A_ROUND = 200
_SPLITS = {"overall": "s1", "free-form": "s2", "multiple-choice": "s3"}


def write_report(run: Path) -> Path:
    """Write `run/report.html` from what is finished in the run's folder, and return its path.

    Raises PlumblineError if the folder holds no run, or if a finished dataset was changed.
    """
    page = render_page("report_template.html.j2", **_content(run))
    partial, path = run / ".report.html.partial", run / "report.html"
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)
    return path


def _content(run: Path) -> dict[str, Any]:
    config, rows = summary.read_config(run), summary.collect(run)
    is_human = config["flow"] == "human_pairs"
    folders = {"": run} if is_human else {f"round {k}": run / f"round-{k}" for k in range(1, config["rounds"] + 1)}
    pairs = [pair for label, folder in folders.items() for pair in _pairs(label, folder)]
    return {
        "name": config["name"],
        "is_human": is_human,
        "what": _what(config),
        "models": _models(run, folders),
        "header": summary.header(rows),
        "cells": summary.cells(rows),
        "scores": _score_chart(rows),
        "wins": _win_chart(rows),
        "metric": None if is_human else _metric(run),
        "answers": _answer_facts(run, folders),
        "ranking": _ranking_facts(run) if is_human else None,
        "rounds": [found for label, folder in folders.items() if (found := _round(label, folder))],
        "gates": _gates(run),
        "docs": "data_docs/index.html" if (run / "data_docs" / "index.html").exists() else None,
        "times": _times(run),
        "spending": spending(run),
        "pairs": pairs,
        "pair_rounds": list(dict.fromkeys(pair["group"] for pair in pairs if pair["group"])),
        "pairs_limit": PAIRS_A_ROUND,
        "config_text": (run / "config.yaml").read_text(encoding="utf-8"),
    }


def _what(config: dict[str, Any]) -> str:
    objective = config["align"]["objective"]["name"]
    if config["flow"] == "human_pairs":
        return f"Aligned on human preference pairs with {objective}."
    n = config["rounds"]
    return f"{n} round{'s' if n > 1 else ''} of {method_name(config['method'])} with {objective}."


def _models(run: Path, folders: dict[str, Path]) -> list[tuple[str, str]]:
    """Every checkpoint of the run by the hash of what decides its behaviour."""
    found = []
    first = summary.manifest(run / "round-0" / "evaluate") or summary.manifest(run / "rank_before")
    if first:
        found.append(("start", first["models"]["policy"]))
    for label, folder in folders.items():
        if made := summary.manifest(folder / "align"):
            found.append((label or "aligned", made["facts"]["model_hash"]))
    return found


def _score_chart(rows: Sequence[summary.Row]) -> Markup:
    measured = [row for row in rows if row.scores]
    names = list(summary.RANKINGS) if rows[0].label == "before" else list(_SPLITS)
    styles = zip(names, _SPLITS.values(), strict=False)
    series = [Series(name, style, *_points([row.scores.get(name) for row in measured])) for name, style in styles]
    return chart("Scores with 95 % intervals", "model", "share right", series, [row.label for row in measured])


def _win_chart(rows: Sequence[summary.Row]) -> Markup | None:
    measured = [(row.label, row.win_rate) for row in rows if row.win_rate]
    if not measured:
        return None
    wins = Series("wins and half the ties", "s1", *_points([win for _, win in measured]))
    even = Series("even", "s2", [(-0.5, 0.5), (len(measured) - 0.5, 0.5)])
    return chart("Win rate against the previous model", "model", "win rate", [wins, even], [label for label, _ in measured])


def _points(scores: Sequence[summary.Score | None]) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Points and bars of what is there, at its position."""
    found = [(float(i), score) for i, score in enumerate(scores) if score]
    return [(i, score["mean"]) for i, score in found], [(score["low"], score["high"]) for _, score in found]


def _metric(run: Path) -> str | None:
    """What the scores are called: benchmark and parser, without which they mean nothing."""
    found = summary.manifest(run / "round-0" / "evaluate")
    return f"{found['facts']['benchmark']}.{found['facts']['parser']}" if found else None


def _answer_facts(run: Path, folders: dict[str, Path]) -> dict[str, Any] | None:
    """How the answers to the benchmark drift from model to model, and their scores by source benchmark."""
    places = {"start": run / "round-0" / "evaluate"} | {label: folder / "evaluate" for label, folder in folders.items()}
    facts = {label: found["facts"] for label, folder in places.items() if (found := summary.manifest(folder))}
    if not facts:
        return None
    names = sorted({name for f in facts.values() for name in f["benchmarks"]})
    rows = [(name, [f["benchmarks"].get(name) for f in facts.values()]) for name in names]
    return {"labels": list(facts), "facts": list(facts.values()), "benchmarks": rows}


def _ranking_facts(run: Path) -> dict[str, Any] | None:
    if not (summary.manifest(run / "rank_before") and summary.manifest(run / "rank_after")):
        return None
    before, after = open_dataset(run / "rank_before"), open_dataset(run / "rank_after")
    return {"n": before.rows, "shorter": before.facts["shorter"], "reward": reward_accuracy(after, before)}


def _round(label: str, folder: Path) -> dict[str, Any] | None:
    """Training curves, what training did in words, the win rate and the decision of one round, as far as they are there."""
    made = {stage: summary.manifest(folder / stage) for stage in ("revise", "validate_pairs", "align", "win_rate")}
    if not any(made.values()):
        return None
    facts = {stage: found["facts"] if found else None for stage, found in made.items()}
    curves = _curves(open_dataset(folder / "align").records()) if made["align"] else []
    reference = made["align"]["models"]["reference"] if made["align"] else None
    contrast = (facts.pop("validate_pairs") or {}).get("metrics")
    decision = read_decision(folder / "decision.json")
    return {"label": label, "curves": curves, "reference": reference, "decision": decision, "contrast": contrast, **facts}


def _curves(steps: Rows) -> list[tuple[str, Markup]]:
    def series(label: str, style: str, name: str) -> Series:
        return Series(label, style, [(float(row["step"]), row[name]) for row in steps])

    loss = chart("Training loss", "optimiser step", "loss", [series("loss", "s4", "loss")])
    both = [series("chosen", "s1", "chosen_logratio"), series("rejected", "s2", "rejected_logratio")]
    ratio = chart("Log-ratio of answers to the reference", "optimiser step", "log-ratio (nats)", both)
    return [("Loss", loss), ("Log-ratio to the reference, chosen and rejected apart", ratio)]


def _gates(run: Path) -> list[dict[str, Any]]:
    gates = []
    for place in (p for p in summary.places(run) if "validate_" in p):
        for folder, stopped in ((run / place, False), (run / f"{place}.failed", True)):
            if (folder / "gate.json").exists():
                report = json.loads((folder / "gate.json").read_text(encoding="utf-8"))
                gates.append({"place": place, "stopped": stopped, **report})
    return gates


def _times(run: Path) -> list[dict[str, Any]]:
    """Seconds of each finished stage, grouped as the folders are."""
    done = [state for state in summary.status(run) if state.seconds is not None]
    longest = max((state.seconds or 0.0 for state in done), default=0.0) or 1.0
    groups: dict[str, list[dict[str, Any]]] = {}
    for state in done:
        group, _, stage = state.place.rpartition("/")
        entry = {"stage": stage, "seconds": state.seconds, "share": 100 * (state.seconds or 0.0) / longest}
        groups.setdefault(group.replace("-", " ").replace("round 0", "start"), []).append(entry)
    return [{"label": label, "stages": stages, "total": sum(s["seconds"] for s in stages)} for label, stages in groups.items()]


def _pairs(label: str, folder: Path) -> list[dict[str, Any]]:
    """The first clean pairs of a round, with what the revision changed."""
    if not summary.manifest(folder / "validate_pairs"):
        return []
    table = open_dataset(folder / "validate_pairs").table().select(COLUMNS)
    return [card(row, label) for row in table.slice(0, PAIRS_A_ROUND).to_pylist()]
