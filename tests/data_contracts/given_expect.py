"""Given rows, expect broken contracts: the shape of every suite's test."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from data_contracts.gate import gate
from data_contracts.suites.contract import Contract, Limits

BOS, EOS, USER, STOP, WORD = 1, 2, 3, 4, 9  # of EOS and STOP the template writes the first
LIMITS = Limits(
    max_tokens=12,
    end_ids=(EOS, STOP),
    bos_token_id=BOS,
    bos_per_prompt=1,
    control_tokens=("<|begin|>", "<|end|>", "<|user|>", "<|stop|>"),
    control_ids=(BOS, EOS, USER, STOP),
    policy="good",
)
PROMPT = [{"role": "user", "content": "What is the capital?"}]


def broken_contracts(suite: ModuleType, rows: list[dict[str, Any]], docs: Path, limits: Limits = LIMITS) -> dict[str, list[str]]:
    """Row id → names of the contracts it broke."""
    frame = pd.DataFrame(rows)
    checks = suite.derive(frame, limits)
    nullable = suite.nullable(checks) if hasattr(suite, "nullable") else ()
    result = gate(checks, frame[suite.ID].tolist(), row_contracts(suite, limits), docs, "test", "given", nullable)
    return dict(zip(frame[suite.ID], result.broken, strict=True))


def named_contracts(suite: ModuleType) -> set[str]:
    return {contract.name for contract in row_contracts(suite, LIMITS)}


def row_contracts(suite: ModuleType, limits: Limits) -> list[Contract]:
    """Those that only warn set rows aside here, so that these tests hold for them, too."""
    found = [c for c in suite.contracts(limits) if c.scope == "row" and c.severity != "off"]
    return [replace(c, severity="quarantine") if c.severity == "warn" else c for c in found]
