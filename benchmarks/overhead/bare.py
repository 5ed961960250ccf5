"""The stages of a round with nothing around them: no Prefect, no MLflow, no manifest, hash or file that only resuming needs.

Every stage is the real one. What changes is what they are called through: `step` becomes a plain call, and `build` keeps a
dataset in memory (pairs are also written to Parquet, because the training process reads them there).
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.records import SCHEMAS
from data_contracts.store import Dataset, Rows


@dataclass(frozen=True)
class InMemory(Dataset):
    held: pa.Table = None

    def table(self) -> pa.Table:
        return self.held


_made: dict[Path, InMemory] = {}


def build(
    folder: Path,
    kind: str,
    config: Any,
    make: Callable[[Path], tuple[Rows | pa.Table, dict[str, Any]]],
    parents: Sequence[Dataset] = (),
    models: Mapping[str, str] | None = None,
) -> Dataset:
    folder.mkdir(parents=True, exist_ok=True)
    rows, facts = make(folder)
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema=SCHEMAS[kind])
    if kind in ("pairs", "lists"):  # the training process reads these
        pq.write_table(table, folder / "data.parquet")
        (folder / "manifest.json").write_text(json.dumps({"kind": kind}))
    manifest = {"parents": [], "models": dict(models or {}), "facts": facts}
    _made[folder] = InMemory(folder, kind, folder.as_posix(), table.num_rows, 0.0, facts, manifest, table)
    return _made[folder]


def step(label: str, stage: Callable[..., Dataset], *arguments: Any, retries: int = 0) -> Dataset:
    return stage(*arguments)


@contextmanager
def stripped() -> Iterator[None]:
    """Inside, the flow modules run bare stages."""
    import flows.round  # noqa: F401  (with all that it is wired from)

    bare = {"build": build, "open_dataset": _made.__getitem__, "step": step, "markdown": lambda label, text: None}
    modules = [module for name, module in sys.modules.items() if name.startswith(("tasks.", "flows."))]
    replaced = [(module, name, value) for module in modules for name, value in bare.items() if hasattr(module, name)]
    patches = [patch.object(*one) for one in replaced]
    for one in patches:
        one.start()
    try:
        yield
    finally:
        for one in patches:
            one.stop()


def decisions(run: Path) -> list[str]:
    return [json.loads(path.read_text())["reason"] for path in sorted(run.glob("round-*/decision.json"))]
