"""Validate: clean rows go on, broken rows go to quarantine under the names of the contracts they broke.

Beside the clean data the stage leaves `quarantine.parquet` (the broken rows and a `contracts` column), `gate.json` (every
contract, how many rows broke it and five of their ids) and its pages in the run's Data Docs; where prompts were held against
evaluation sets, `contamination.json` says which was found where. If the dataset as a whole fails, the first two are kept in
`<folder>.failed/` and the run stops.
"""

import shutil
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.config_validate import ValidateConfig
from data_contracts.contrast import summarise
from data_contracts.errors import PlumblineError
from data_contracts.gate import ContractResult, GateResult, gate
from data_contracts.store import Dataset, build, load_json, write_json
from data_contracts.suites import SUITES, VERSION, row_contracts, whole_contracts
from data_contracts.suites.contract import Codec, Limits
from models.chat import Message, control_tokens, decode_answers, encode_prompt, encode_prompts
from models.checkpoint import end_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_EXAMPLES = 5


_CHAT = [Message(role=role, content="hello") for role in ("user", "assistant", "user")]


def limits_of(tokenizer: "PreTrainedTokenizerFast", max_tokens: int, policy: str | None = None) -> Limits:
    """What the contracts must know: the tokenizer's control tokens, how its template begins, the context, the policy's hash."""
    ends, bos = end_tokens(tokenizer), tokenizer.bos_token_id
    bos = None if bos == ends[0] else bos
    probe, longer = encode_prompt(tokenizer, _CHAT[:1]), encode_prompt(tokenizer, _CHAT)
    if bos is not None and probe.count(bos) != longer.count(bos):  # Llama 2's template begins every turn with it: no one count
        bos = None
    spelt = control_tokens(tokenizer)
    return Limits(
        max_tokens=max_tokens,
        end_ids=ends,
        bos_token_id=bos,
        bos_per_prompt=0 if bos is None else probe.count(bos),
        control_tokens=tuple(spelt),
        control_ids=tuple(tokenizer.convert_tokens_to_ids(spelt)),
        codec=Codec(partial(encode_prompts, tokenizer), partial(_sizes, tokenizer), partial(decode_answers, tokenizer)),
        policy=policy,
    )


def _sizes(tokenizer: "PreTrainedTokenizerFast", conversations: Sequence[Sequence[Message]]) -> list[int | None]:
    """Tokens of each prompt, or None where the chat template refuses it: all at once, and one by one only if that fails."""
    from jinja2 import TemplateError

    try:
        return [len(ids) for ids in encode_prompts(tokenizer, conversations)]
    except (TemplateError, TypeError):
        return [None] if len(conversations) == 1 else [_sizes(tokenizer, [one])[0] for one in conversations]


def validate(folder: Path, data: Dataset, config: ValidateConfig, limits: Limits, docs: Path) -> Dataset:
    """The clean rows of `data` (prompts, samples, revisions, verdicts or pairs) as a dataset of the same kind.

    Facts: `kept`, `quarantined`, `contracts` (name → rows that broke it), `warnings` (sentences), and for pairs `metrics`, for
    revisions `failures` (reason → rows).

    Raises PlumblineError if a contract on the whole dataset is broken: too few rows left, or too large a share lost.
    """
    failed = folder.with_name(f"{folder.name}.failed")

    def make(work: Path) -> tuple[pa.Table, dict[str, Any]]:
        table, frame, suite = data.table(), data.frame(), SUITES[data.kind]
        label, ids = f"{folder.parent.name}-{folder.name}", frame[suite.ID].tolist()
        checks = suite.derive(frame, limits)
        nullable = suite.nullable(checks) if hasattr(suite, "nullable") else ()
        rows = gate(checks, ids, row_contracts(data.kind, limits, config), docs, label, data.kind, nullable)
        clean = rows.clean
        measured = suite.measure(frame[clean]) if hasattr(suite, "measure") and clean.any() else {}
        left = checks[clean].reset_index(drop=True).assign(**measured)
        columns = set(left.columns[left.notna().any()])  # without a clean row, or one with both sides, nothing has a mean
        contracts = whole_contracts(data.kind, limits, config, data.rows, columns)
        whole = gate(left, frame[suite.ID][clean].tolist(), contracts, docs, label, f"{data.kind}-whole", nullable)
        _write_evidence(work, table, rows, whole, ids)
        if hasattr(suite, "evidence") and limits.evaluation:
            write_json(work / "contamination.json", suite.evidence(frame, limits))
        _stop_if_failed(work, failed, rows, whole)
        return table.filter(pa.array(clean)), _facts(data, rows, whole, left, frame)

    slice_ = {"validate": config.model_dump(mode="json"), "limits": limits.facts(), "suites": VERSION}
    made = build(folder, data.kind, slice_, make, parents=[data])
    shutil.rmtree(failed, ignore_errors=True)  # of an earlier attempt with other inputs
    return made


def _write_evidence(work: Path, table: pa.Table, rows: GateResult, whole: GateResult, ids: list[str]) -> None:
    names = pa.array([names for names in rows.broken if names], type=pa.list_(pa.string()))
    quarantined = table.filter(pa.array(~rows.clean))
    pq.write_table(quarantined.append_column("contracts", names), work / "quarantine.parquet")
    report = {
        "checked": rows.checked,
        "kept": whole.checked,
        "quarantined": rows.checked - whole.checked,
        "contracts": [_entry(r, ids) for r in rows.contracts] + [_entry(r, []) for r in whole.contracts],
    }
    write_json(work / "gate.json", report)


def _entry(result: ContractResult, ids: list[str]) -> dict[str, Any]:
    contract = result.contract
    entry: dict[str, Any] = {"contract": contract.name, "why": contract.why, "scope": contract.scope}
    entry |= {"severity": contract.severity, "kept": result.kept, "checked": result.checked}
    if contract.scope == "row":
        return entry | {"broken": len(result.rows), "examples": [ids[row] for row in result.rows[:_EXAMPLES]]}
    return entry | {"observed": result.observed, "low": contract.low, "high": contract.high}


def _stop_if_failed(work: Path, failed: Path, rows: GateResult, whole: GateResult) -> None:
    broken = [r for r in (*rows.contracts, *whole.contracts) if r.contract.severity == "fail" and not r.kept]
    if not broken:
        return
    shutil.rmtree(failed, ignore_errors=True)
    failed.mkdir(parents=True)
    for name in ("quarantine.parquet", "gate.json"):
        shutil.copy(work / name, failed / name)
    worst = max(rows.contracts, key=lambda r: len(r.rows) if r.contract.severity != "warn" else -1)
    most = f", most of them by {worst.contract.name} ({len(worst.rows)} rows)" if worst.rows else ""
    name, measured = broken[0].contract.name, broken[0].observed
    found = f" (measured {measured:.3g})" if broken[0].contract.scope == "mean" else ""
    raise PlumblineError(
        f"{failed.with_suffix('')}: the contract {name} is broken{found}: {whole.checked} of {rows.checked} rows are left, "
        f"{rows.checked - whole.checked} were quarantined{most}; look at gate.json and quarantine.parquet in {failed}"
    )


def _facts(data: Dataset, rows: GateResult, whole: GateResult, clean: Any, frame: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "kept": whole.checked,
        "quarantined": rows.checked - whole.checked,
        "contracts": {r.contract.name: len(r.rows) for r in rows.contracts},
        "warnings": [_warning(r) for r in (*rows.contracts, *whole.contracts) if r.contract.severity == "warn" and not r.kept],
    }
    if data.kind == "pairs":
        facts["metrics"] = summarise(clean)
    if data.kind == "revisions":
        facts["failures"] = dict(sorted(Counter(frame["failure"].dropna()).items()))
    return facts


def set_aside(folder: Path) -> str:
    """How many rows each contract set aside whose gate lies in `folder`, in words; a row may have broken several."""
    row = [e for e in load_json(folder / "gate.json")["contracts"] if e["scope"] == "row" and e["severity"] != "warn"]
    return ", ".join(f"{e['contract']} {e['broken']}" for e in sorted(row, key=lambda e: -e["broken"]) if e["broken"])


def _warning(result: ContractResult) -> str:
    contract = result.contract
    found = f"{len(result.rows)} rows, not set aside for it" if contract.scope == "row" else f"{result.observed:.3g}"
    return f"{contract.name} ({found}): {contract.why}"
