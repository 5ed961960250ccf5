"""The report's rounds: what was decided and why, what training did, and what the data was like on the way."""

from collections import Counter
from pathlib import Path
from typing import Any

from markupsafe import Markup

from data_contracts.json_text import is_number
from data_contracts.store import Rows, load_json, open_dataset
from tasks import summary
from tasks.charts import Series, chart
from tasks.inspect_pairs import COLUMNS, cell, parts
from tasks.pair_cards import cut
from tasks.promote import read_decision
from tasks.serving import stages as stages_of

SHOWN = 300  # characters of a prompt that stands in an evaluation set
DRAWN = 10  # rounds whose curves are drawn, the latest ones: each is some thirty thousand characters
_CURVES = {  # caption: the unit of its axis, and columns of `steps` with their names
    "Loss": ("loss", {"loss": "loss"}),
    "Log-ratio to the reference": ("log-ratio (nats)", {"chosen_logratio": "chosen", "rejected_logratio": "rejected"}),
    "Pairs ranked rightly": ("share", {"accuracy": "in training", "held_out_accuracy": "held out"}),
    "Gradient norm before clipping": ("norm", {"gradient_norm": "gradient norm"}),
}
_STYLES = ("s1", "s2")
_ELSEWHERE = ("contracts", "metrics", "warnings", "kept")  # facts that have a place of their own


def rounds(folders: dict[str, Path]) -> list[dict[str, Any]]:
    """Of every round that has begun to train, what is there: decision, training facts and curves, win rate."""
    found = {label: _round(label, folder) for label, folder in folders.items()}
    there = [one for one in found.values() if one]
    for one in there[-DRAWN:]:
        if one["align"]:
            one["curves"] = _curves(open_dataset(folders[one["label"]] / "align").records())
    return there


def _round(label: str, folder: Path) -> dict[str, Any] | None:
    made = {stage: summary.manifest(folder / stage) for stage in ("align", "win_rate")}
    decision = read_decision(folder / "decision.json")
    if not any(made.values()):
        return None
    facts = {stage: found["facts"] if found else None for stage, found in made.items()}
    reference = made["align"]["models"]["reference"] if made["align"] else None
    return {"label": label, "curves": [], "reference": reference, "decision": decision, **facts}


def _curves(steps: Rows) -> list[tuple[str, Markup]]:
    drawn = []
    for caption, (unit, columns) in _CURVES.items():
        series = [
            Series(name, style, [(float(row["step"]), row[column]) for row in steps if row.get(column) is not None])
            for style, (column, name) in zip(_STYLES, columns.items(), strict=False)
        ]
        if any(line.points for line in series):
            drawn.append((caption, chart(caption, "optimiser step", unit, series)))
    return drawn


def health(run: Path, folders: dict[str, Path]) -> dict[str, Any]:
    """What came through each stage, round by round; warnings; how contrastive the pairs are, by method; and the gates."""
    config = summary.read_config(run)
    data_stages = ("import", "validate_pairs") if config["flow"] == "human_pairs" else stages_of(config)
    stages: dict[str, dict[str, tuple[int, str]]] = {}
    warnings = []
    for place in summary.places(run):
        group, _, stage = place.rpartition("/")
        if stage in data_stages and (found := summary.manifest(run / place)):
            stages.setdefault(stage.replace("_", " "), {})[group.replace("-", " ")] = (found["rows"], _told(found))
            warnings += [(place, text) for text in found["facts"].get("warnings", [])]
    labels = [label for label in folders if any(label in row for row in stages.values())]
    rows = [(stage, [row.get(label) for label in labels]) for stage, row in stages.items()]
    gates = _gates(run)
    return {
        "labels": labels,
        "stages": rows,
        "warnings": warnings,
        "gates": gates,
        "contrast": _contrast(folders),
        "contamination": [found for gate in gates if (found := _contamination(run, gate))],
    }


def _told(found: summary.Manifest) -> str:
    """A stage's counts and shares in a line, failures by reason. What it cost and what its gate said stand elsewhere."""
    told = []
    for name, value in found["facts"].items():
        if name in (found["kind"], "samples", *_ELSEWHERE) or name.split("_")[0] == "teacher":
            continue
        label = name.replace("_", " ")
        if isinstance(value, dict) and (counts := [f"{k} {v}" for k, v in value.items() if isinstance(v, int)]):
            told.append(f"{label}: {', '.join(counts)}")
        elif is_number(value):
            told.append(f"{label} {value if isinstance(value, int) else f'{value:.3g}'}")
    return ", ".join(told)


def _contrast(folders: dict[str, Path]) -> dict[str, Any] | None:
    """Rows of figures, one a round and method. A round of one method has them in its manifest; others are measured here."""
    rows: list[tuple[str, dict[str, float]]] = []
    for label, folder in folders.items():
        found = summary.manifest(folder / "validate_pairs")
        if not found or not found["rows"]:
            continue
        data = open_dataset(folder / "validate_pairs")
        methods = data.table()["method"].unique().to_pylist()
        if len(methods) == 1:
            rows.append(
                (f"{label}: {methods[0]}" if label else methods[0], {"rows": data.rows, **found["facts"].get("metrics", {})})
            )
        else:
            rows += [(part.label, part.figures) for part in parts([(label or "pairs", data)], [None])]
    names = [name for name in COLUMNS if any(name in figures for _, figures in rows)]
    if not rows:
        return None
    table = [(label, [cell(name, figures.get(name)) for name in names]) for label, figures in rows]
    return {"columns": [COLUMNS[name].replace("\n", " ") for name in names], "rows": table}


def _contamination(run: Path, gate: dict[str, Any]) -> dict[str, Any] | None:
    """Which prompts a gate found in an evaluation set, by how, and the first of each kind; None if it did not look."""
    found = load_json(run / gate["place"] / "contamination.json")
    if found is None:
        return None
    kinds = Counter(hit["kind"] for hit in found)
    first = {hit["kind"]: hit for hit in reversed(found)}
    shown = [(kind, cut(first[kind]["prompt"], SHOWN), cut(first[kind]["text"], SHOWN)) for kind in kinds]
    return {"place": gate["place"], "checked": gate["checked"], "found": len(found), "kinds": dict(kinds), "examples": shown}


def _gates(run: Path) -> list[dict[str, Any]]:
    gates = []
    for place in (p for p in summary.places(run) if "validate_" in p):
        for folder, stopped in ((run / place, False), (run / f"{place}.failed", True)):
            if report := load_json(folder / "gate.json"):
                told = [c for c in report["contracts"] if not c["kept"]]
                held = [c["contract"] for c in report["contracts"] if c["kept"]]
                gates.append({"place": place, "stopped": stopped, **report, "contracts": told, "held": held})
    return gates
