"""Reference log-probabilities: computed once by the trainer's own forward and kept in files that say exactly what they hold.

A file is named by the hash of everything its numbers depend on, so that a folder of them serves any number of runs: a sweep over
objectives or learning rates asks the reference once.
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.errors import PlumblineError
from data_contracts.store import digest, read_parquet, replacing
from models.training import team
from models.training.data import Example, content_digest

if TYPE_CHECKING:
    from torch import Tensor

FORWARD = 3  # raise when completion_logps may give other numbers
MICRO_BATCH = 8192  # tree tokens at once: without a gradient little is kept, and the training's own setting need not matter

Stored = tuple["Tensor", "list[Tensor]"]  # sums [N, K], and of each example its tokens' [K, T]
Key = dict[str, str | int]


def cache_of(pairs: Path) -> Path:
    """Where the reference log-probabilities of the dataset in folder `pairs` are kept: beside it, for whoever trains on it."""
    return pairs.with_name(f".{pairs.name}.reference")


def reference_key(model: str, examples: Sequence[Example], dtype: str, device: str, attention: str) -> Key:
    """Everything the numbers depend on. `model` is the hash of a checkpoint's weights, configuration, tokenizer and template."""
    return {
        "forward": FORWARD,
        "model": model,
        "tokens": content_digest(examples),
        "truncation": "none",
        "dtype": dtype,
        "device": device,
        "attention": attention,
        "micro_batch": MICRO_BATCH,
        "processes": team.size(),
    }


def stored_logps(cache: Path, key: Key, examples: Sequence[Example], compute: Callable[[], Stored]) -> Stored:
    """What `compute` gives, from the folder `cache`; computed and written first unless a file is there under `key`.

    Raises PlumblineError if the numbers do not cover exactly these examples, or are not finite.
    """
    path = cache / f"{digest(key)}.parquet"
    if not team.first(_serves(path, key)):
        total, tokens = compute()
        _check(total.tolist(), examples)
        if team.rank() == 0:
            _write(path, key, examples, total, tokens)
        return total, tokens
    return _read(path, examples)


def _serves(path: Path, key: Key) -> bool:
    return path.exists() and (pq.read_schema(path).metadata or {}).get(b"key") == json.dumps(key).encode()


def _write(path: Path, key: Key, examples: Sequence[Example], total: "Tensor", tokens: "list[Tensor]") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    token_logps = pa.array([values.tolist() for values in tokens], pa.list_(pa.list_(pa.float32())))
    table = pa.table({"id": [e.id for e in examples], "logps": total.tolist(), "token_logps": token_logps})
    with replacing(path, shared=True) as partial:
        pq.write_table(table.replace_schema_metadata({"key": json.dumps(key)}), partial)


def _check(rows: list[list[float]], examples: Sequence[Example]) -> None:
    for example, row in zip(examples, rows, strict=True):
        if not all(math.isfinite(x) for x in row):
            raise PlumblineError(f"the reference gives pair {example.id!r} no finite log-probability ({row}): check the weights")


def _read(path: Path, examples: Sequence[Example]) -> Stored:
    import torch

    table = read_parquet(path)
    if table["id"].to_pylist() != [e.id for e in examples]:
        raise PlumblineError(f"{path} holds reference log-probabilities of other examples: delete it and resume the run")
    rows = table["logps"].to_pylist()
    _check(rows, examples)
    return torch.tensor(rows), [torch.tensor(values) for values in table["token_logps"].to_pylist()]
