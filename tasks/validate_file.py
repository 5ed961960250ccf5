"""The contracts on a file that is not part of a run: read it, gate it, say which rows broke what."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from data_contracts.config import PairsFileConfig
from data_contracts.config_validate import ContractConfig, ValidateConfig
from data_contracts.errors import PlumblineError
from data_contracts.json_text import json_lines
from data_contracts.plain import safe
from data_contracts.store import Dataset, load_json, open_dataset
from data_contracts.suites import SUITES, catalogue
from models.checkpoint import load_tokenizer, open_checkpoint
from models.transcripts import REASONS
from tasks.import_pairs import import_pairs
from tasks.inspect_pairs import cell
from tasks.validate import limits_of, validate

_OFF = ContractConfig(severity="off")
# whoever asks wants to see every row, however many are broken
_ALL = ValidateConfig(contracts={"enough_rows": _OFF, "quarantine_small": _OFF})
# bounded by the run's own context and template
_RUNS = {"total_tokens", "tokens_to_ask", "chosen_total_tokens", "rejected_total_tokens", "prompt_bos_tokens"}


def read_dataset(kind: str, file: Path, model: str, out: Path) -> Dataset:
    """The dataset in the folder `file`, or the preference file of that name as pairs.

    Raises PlumblineError if `file` holds no such dataset, or is of a kind that only a run makes.
    """
    if kind not in SUITES:
        raise PlumblineError(f"there are no contracts for {kind!r}: choose one of {', '.join(SUITES)}")
    if not file.exists():
        raise PlumblineError(f"{file} does not exist: name a dataset's folder or a preference file")
    if file.is_dir():
        found = open_dataset(file)
        if found.kind != kind:
            raise PlumblineError(f"{file} holds {found.kind}, not {kind}: plumbline validate {found.kind} {file}")
        return found
    if kind != "pairs":
        raise PlumblineError(f"{file} is a file, and {kind} are read from a run's dataset only: name its folder")
    return import_pairs(out / "import", PairsFileConfig(file=str(file.resolve())), open_checkpoint(model))


def check_file(data: Dataset, model: str, max_tokens: int, out: Path) -> dict[str, Any]:
    """`checked`, `kept`, `quarantined`, `metrics`, the gate's contracts, for each broken row what it broke (`rows`), and how many
    lines were `unreadable` by the reason's name and which (`unreadable_lines`)."""
    checkpoint = open_checkpoint(model)
    limits = replace(limits_of(load_tokenizer(checkpoint.path), max_tokens), tokenizer=checkpoint.hash)
    settings = _ALL.model_copy(update={"max_tokens": max_tokens})
    made = validate(out / "validated", data, settings, limits, out / "data_docs")
    gate = load_json(made.folder / "gate.json")
    id_ = SUITES[data.kind].ID
    broken = pq.read_table(made.folder / "quarantine.parquet", columns=[id_, "contracts"]).to_pylist()
    lost: dict[str, list[int]] = {}
    if (path := data.folder / "unreadable.jsonl").exists():
        for _, line in json_lines(path, "unreadable lines"):
            lost.setdefault(line["reason"], []).append(line["line"])
    return gate | {
        "rows": {row[id_]: row["contracts"] for row in broken},
        "unreadable": {reason: len(numbers) for reason, numbers in lost.items()},
        "unreadable_lines": lost,
        "metrics": made.facts.get("metrics", {}),
    }


def render(found: dict[str, Any], shown: int) -> list[Table | str]:
    """Tables for a terminal; ids come from files: neither markup nor a terminal's orders in them are obeyed."""
    lines = [f"{found['checked']} rows checked, {found['kept']} clean, {found['quarantined']} broken"]
    for reason, numbers in found["unreadable_lines"].items():
        some = ", ".join(map(str, numbers[:shown])) + (", …" if len(numbers) > shown else "")
        lines.append(f"{len(numbers)} line{'s' * (len(numbers) > 1)} could not be read, since {REASONS[reason]}: {some}")
    table = Table("contract", "", "rows or value", "for example", "why", box=SIMPLE_HEAD, show_edge=False)
    for entry in found["contracts"]:
        if not entry["kept"]:
            row = entry["scope"] == "row"
            value = str(entry["broken"]) if row else f"{entry['observed']:.3g}"
            examples = ", ".join(map(safe, entry["examples"][:shown])) if row else "–"
            table.add_row(entry["contract"], entry["severity"], value, escape(examples), entry["why"])
    metrics = [f"{name} {cell(name, value)}" for name, value in found["metrics"].items()]
    parts: list[Table | str] = [*lines]
    parts += [table] if table.row_count else []
    return parts + ([", ".join(metrics)] if metrics else [])


def list_contracts() -> Table:
    """Every contract, its severity and bounds: what `validate.contracts` in a config may change."""
    table = Table("dataset", "contract", "severity", "bounds", "why", box=SIMPLE_HEAD, show_edge=False)
    for kind, contracts in catalogue().items():
        for c in contracts:
            low, high = (None if b is None else f"{b:.3g}" for b in (c.low, c.high))
            both = f"{low} to {high}" if low and high else (f"≥ {low}" if low else (f"≤ {high}" if high else "–"))
            table.add_row(kind, c.name, c.severity, "as the run" if c.column in _RUNS else both, c.why)
    return table
