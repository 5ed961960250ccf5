"""Reference log-probabilities: computed once by the trainer's own forward and kept in a file that knows exactly what it holds."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.errors import PlumblineError
from data_contracts.store import digest
from models.training.data import Example, content_digest

if TYPE_CHECKING:
    from torch import Tensor

FORWARD = 2  # raise when completion_logps may give other numbers


Stored = tuple["Tensor", "list[Tensor] | None"]  # sums [N, K], and of each example its tokens' [K, T]


def reference_key(model: str, examples: Sequence[Example], tokens: int, dtype: str, device: str) -> str:
    """Everything the numbers depend on: weights and tokenizer (the checkpoint's hash), every token, and how they are computed."""
    return digest([FORWARD, model, content_digest(examples), tokens, dtype, device])


def stored_logps(
    path: Path, key: str, examples: Sequence[Example], compute: Callable[[], Stored], by_token: bool = False
) -> Stored:
    """What `compute` gives, from `path`; computed and written first unless the file is there under the same `key`.

    Log-probabilities of single tokens are kept, and returned, only if asked for: they take the space of the text itself.
    Raises PlumblineError if the file does not cover exactly these examples with finite numbers.
    """
    if not _serves(path, key, by_token):
        total, tokens = compute()
        columns = {"id": [e.id for e in examples], "logps": total.tolist()}
        if by_token:
            assert tokens is not None
            columns["token_logps"] = [values.tolist() for values in tokens]
        pq.write_table(pa.table(columns).replace_schema_metadata({"key": key}), path)
    return _read(path, examples, by_token)


def _serves(path: Path, key: str, by_token: bool) -> bool:
    if not path.exists():
        return False
    schema = pq.read_schema(path)
    return (schema.metadata or {}).get(b"key") == key.encode() and (not by_token or "token_logps" in schema.names)


def _read(path: Path, examples: Sequence[Example], by_token: bool) -> Stored:
    import torch

    table = pq.read_table(path)
    if table["id"].to_pylist() != [e.id for e in examples]:
        raise PlumblineError(f"{path} holds reference log-probabilities of other examples: delete it and resume the run")
    rows = table["logps"].to_pylist()
    for example, row in zip(examples, rows, strict=True):
        if not all(math.isfinite(x) for x in row):
            raise PlumblineError(f"the reference gives pair {example.id!r} no finite log-probability ({row}): check the weights")
    tokens = [torch.tensor(values) for values in table["token_logps"].to_pylist()] if by_token else None
    return torch.tensor(rows), tokens
