"""The run as one page: report.html is self-contained, opens from disk, and asks no network for anything.

Everything that a model or a file wrote is escaped (tasks/page.py), so that a text which looks like markup stays text. However
many rounds, pairs and answers there are, the page stays below 5 MB: what is shown of them is drawn evenly.
"""

from collections.abc import Sequence
from functools import partial
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from data_contracts.made_with import together
from data_contracts.store import Rows, open_dataset
from models.objectives.catalogue import describe
from tasks import summary
from tasks.changes import Change, read_changes, round_changes
from tasks.lineage import champions
from tasks.page import write_page
from tasks.pair import METHODS, method_name
from tasks.pair_cards import COLUMNS, draw_pairs
from tasks.report_answers import draw_answers
from tasks.report_brief import brief
from tasks.report_rounds import health, rounds
from tasks.report_scores import by_benchmark, compared, further, ranked, read_answers, score_chart, win_chart
from tasks.spending import spending

if TYPE_CHECKING:
    import pyarrow as pa

PAIRS = 1000  # of all rounds together: more would make the page slow and say nothing new
PAIRS_SIZE, ANSWERS_SIZE = 2_500_000, 1_000_000  # bytes of all cards together


def write_report(run: Path) -> Path:
    """Write `run/report.html` from what is finished in the run's folder, and return its path.

    Raises PlumblineError if the folder holds no run, or if a finished dataset was changed.
    """
    write_page(run / "report.html", "report.html.j2", **_content(run))
    return run / "report.html"


def _content(run: Path) -> dict[str, Any]:
    config, rows = summary.read_config(run), summary.collect(run)
    is_human = config["flow"] == "human_pairs"
    n = 0 if is_human else config["rounds"]
    folders = {"": run} if is_human else {f"round {k}": run / f"round-{k}" for k in range(1, n + 1)}
    answers = {} if is_human else read_answers(run, n)
    gains = compared(run, answers)
    models = _models(run, folders)
    ranking, cost, checked = ranked(run) if is_human else None, spending(run), health(run, folders)
    return {
        "name": config["name"],
        "is_human": is_human,
        "what": _what(config),
        "words": _words(config),
        "models": models,
        "names": {hash_: label for label, hash_ in reversed(models)},  # the first to have it
        "made_with": _made_with(run),
        "notes": brief(run, rows, gains, ranking, cost, checked),
        "header": summary.header(rows),
        "cells": summary.cells(rows),
        "scores": score_chart(rows),
        "wins": win_chart(rows),
        "gains": gains,
        "benchmarks": None if is_human else by_benchmark(run, n),
        "further": further(run),
        "ranking": ranking,
        "rounds": rounds(folders),
        "health": checked,
        "docs": "data_docs/index.html" if (run / "data_docs" / "index.html").exists() else None,
        "answers": draw_answers(answers, ANSWERS_SIZE, champions(run)[-1]),
        "cost": cost,
        **_pairs(folders),
        "changes": [*((None, change) for change in read_changes(run)), *_round_changes(run, folders)],
        "config_text": (run / "config.yaml").read_text(encoding="utf-8"),
    }


def _what(config: dict[str, Any]) -> str:
    objective = config["align"]["objective"]["name"]
    if config["flow"] == "human_pairs":
        return f"Aligned on human preference pairs with {objective}."
    n = config["rounds"]
    return f"{n} round{'s' if n > 1 else ''} of {method_name(config['method'])} with {objective}."


def _words(config: dict[str, Any]) -> list[tuple[str, str]]:
    """What the method and the objective do, by their own first sentences."""
    objective = config["align"]["objective"]["name"]
    method = None if config["flow"] == "human_pairs" else method_name(config["method"])
    told = [(method, " ".join(cleandoc(METHODS[method].make.__doc__ or "").partition("\n\n")[0].split()))] if method else []
    return [*told, (objective, describe(objective)["summary"])]


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


def _made_with(run: Path) -> str:
    places = sorted([*run.glob("*/manifest.json"), *run.glob("round-*/*/manifest.json")])
    made = together(manifest for path in places if (manifest := summary.manifest(path.parent)))
    return " · ".join(what if name == "machine" else f"{name} {what}" for name, what in made.items())


def _round_changes(run: Path, folders: dict[str, Path]) -> list[tuple[str, Change]]:
    """What single rounds did otherwise, by the round's label."""
    return [(label, change) for n, label in enumerate(folders, 1) if label for change in round_changes(run, n)]


def _pairs(folders: dict[str, Path]) -> dict[str, Any]:
    """Some clean pairs of each round as cards, and how many there are of all."""
    there = {label: folder / "validate_pairs" for label, folder in folders.items() if summary.manifest(folder / "validate_pairs")}
    drawn: list[Markup] = []
    total = 0
    for label, folder in there.items():
        table = open_dataset(folder).table().select(COLUMNS)
        drawn += draw_pairs(label, len(table), partial(_rows, table), PAIRS // len(there), PAIRS_SIZE // len(there))
        total += len(table)
    return {"pairs": drawn, "pairs_total": total, "pair_rounds": [label for label in there if label]}


def _rows(table: "pa.Table", places: Sequence[int]) -> Rows:
    rows: Rows = table.take(list(places)).to_pylist()
    return rows
