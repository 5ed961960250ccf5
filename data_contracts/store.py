"""Datasets on disk: one folder each, `data.parquet` + `manifest.json`, written once and never rewritten.

A dataset's key is a hash of everything that decides its content: kind, schema version, the stage's own configuration, the
keys of its parents and the hashes of the models that made it. A stage whose dataset is there under its key is skipped; one that
is there under another key stops the run, because a finished dataset is never overwritten.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from data_contracts.clock import now
from data_contracts.errors import PlumblineError, in_short
from data_contracts.json_text import read_json
from data_contracts.made_with import made_with
from data_contracts.records import SCHEMAS, VERSION

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
Rows = list[Row]
_TOLD = {"kind", "key", "rows", "seconds", "facts", "data"}  # what a dataset is opened by
_shared: list[Path] = []  # the folder in which `sharing` collects datasets, if it does


@dataclass(frozen=True)
class Dataset:
    """A finished dataset. `facts` are the small numbers a stage reports about it (counts, metrics); they are not in the key."""

    folder: Path
    kind: str
    key: str
    rows: int
    seconds: float
    facts: dict[str, Any]
    manifest: dict[str, Any]

    def table(self) -> pa.Table:
        """Raises PlumblineError as `read_parquet` does."""
        return read_parquet(self.folder / "data.parquet")

    def frame(self) -> "pd.DataFrame":
        return self.table().to_pandas()

    def records(self) -> Rows:
        return self.table().to_pylist()


def digest(value: Any) -> str:
    """Hash (hex, 16 characters) of any JSON-able value, independent of key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """Raises PlumblineError for what is no file: a pipe or a device might never end."""
    if not path.is_file():
        raise PlumblineError(f"{path} is not a readable file: put one there")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


@contextmanager
def replacing(path: Path, shared: bool = False) -> Iterator[Path]:
    """Where to write what then takes the place of `path`, whole or not at all: a kill never leaves half a file.

    `shared`: other processes may be writing the same file at this moment.
    """
    partial = path.with_name(f".{path.name}{f'.{os.getpid()}' if shared else ''}.partial")
    yield partial
    partial.replace(path)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False))


def load_json(path: Path, missing: Any = None) -> Any:
    """What `write_json` wrote, or `missing` where nothing was written yet. Raises PlumblineError if it was damaged since."""
    if not path.is_file():
        return missing
    try:
        return read_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PlumblineError(f"{path} is damaged ({in_short(error)}): restore it from a copy") from None


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Raises PlumblineError for what is no Parquet file, a damaged one, and one that lacks the columns."""
    try:
        return pq.read_table(path, columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError) as error:
        raise PlumblineError(f"{path} is not a whole Parquet file ({in_short(error)}): restore it from a copy") from None


def dataset_key(
    kind: str, config: BaseModel | Mapping[str, Any], parents: Sequence[Dataset] = (), models: Mapping[str, str] | None = None
) -> str:
    return digest([kind, VERSION, _plain(config), [[p.kind, p.key] for p in parents], dict(models or {})])


def _plain(config: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
    return config.model_dump(mode="json") if isinstance(config, BaseModel) else dict(config)


def open_dataset(folder: Path) -> Dataset:
    """The finished dataset in `folder`.

    Raises PlumblineError if there is none, or if its Parquet file is not the one that its manifest describes.
    """
    manifest = load_json(folder / "manifest.json")
    if manifest is None:
        raise PlumblineError(
            f"{folder} holds no finished dataset (no manifest.json): name a dataset's folder, or run the stage that makes it"
        )
    if not isinstance(manifest, dict) or not manifest.keys() >= _TOLD:
        raise PlumblineError(f"{folder / 'manifest.json'} is no dataset's manifest: restore it from a copy, or delete the folder")
    if file_digest(folder / "data.parquet") != manifest["data"]:
        raise PlumblineError(f"{folder}/data.parquet was changed after it was finished: delete the folder and resume the run")
    _check_form(folder / "data.parquet", manifest)
    return Dataset(folder, manifest["kind"], manifest["key"], manifest["rows"], manifest["seconds"], manifest["facts"], manifest)


def _check_form(data: Path, manifest: dict[str, Any]) -> None:
    """Raises PlumblineError for a file that is no such dataset, though its hash stands in the manifest. One that was made before
    a column came may lack it."""
    try:
        found = pq.ParquetFile(data)
    except (pa.ArrowException, OSError) as error:
        raise PlumblineError(f"{data} is not a Parquet file ({in_short(error)}): restore it from a copy") from None
    held, schema = found.schema_arrow, SCHEMAS.get(manifest["kind"], found.schema_arrow)
    fits = schema.names[0] in held.names and all(
        held.field(n).type == schema.field(n).type for n in {*held.names} & {*schema.names}
    )
    if found.metadata.num_rows != manifest["rows"] or not fits:
        raise PlumblineError(
            f"{data} holds other rows or columns than its manifest.json says: delete the folder and resume the run"
        )


@contextmanager
def sharing(folder: Path) -> Iterator[None]:
    """Inside, a dataset that has been built once is linked wherever one of its key is asked for, and not built again.

    `folder` collects every finished dataset under its key by hard links, which take no space; it must lie on the same file
    system as the datasets.
    """
    _shared.append(folder)
    try:
        yield
    finally:
        _shared.pop()


def shared(name: str) -> Path | None:
    """A folder beside the shared datasets for what a stage wants to use again; None where nothing is shared."""
    return _shared[-1] / name if _shared else None


def build(
    folder: Path,
    kind: str,
    config: BaseModel | Mapping[str, Any],
    make: Callable[[Path], tuple[Rows | pa.Table, dict[str, Any]]],
    parents: Sequence[Dataset] = (),
    models: Mapping[str, str] | None = None,
) -> Dataset:
    """Return the dataset in `folder`, making it first if it is not there.

    `make(workdir)` returns (rows, facts) and may leave further files in `workdir`; the folder appears under its name only when
    everything in it is complete, so a kill at any moment leaves either the whole dataset or none.

    Raises PlumblineError if the folder holds a dataset with another key.
    """
    key = dataset_key(kind, config, parents, models)
    if (folder / "manifest.json").exists():
        found = open_dataset(folder)
        if found.key != key:
            raise PlumblineError(
                f"{folder} was made from other inputs or settings (key {found.key}, now {key}), and finished datasets are not "
                "rewritten: use another run folder, or delete this one to make it again"
            )
        return found
    work = folder.with_name(f".{folder.name}.partial")
    if work.exists():
        shutil.rmtree(work)
    if _shared and (_shared[-1] / key).exists():
        return _link(_shared[-1] / key, work, folder, {"linked": True})  # so that nobody counts twice what it cost
    work.mkdir(parents=True)
    begin = time.monotonic()
    rows, facts = make(work)
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema=SCHEMAS[kind])
    if table.schema != SCHEMAS[kind]:
        table = table.select(SCHEMAS[kind].names).cast(SCHEMAS[kind])
    pq.write_table(table, work / "data.parquet")
    manifest = {
        "kind": kind,
        "schema": VERSION,
        "key": key,
        "rows": table.num_rows,
        "created": now(),
        "seconds": round(time.monotonic() - begin, 3),
        "made_with": made_with(),
        "config": _plain(config),
        "parents": [{"kind": p.kind, "key": p.key, "folder": os.path.relpath(p.folder, folder)} for p in parents],
        "models": dict(models or {}),
        "facts": facts,
        "data": file_digest(work / "data.parquet"),
    }
    write_json(work / "manifest.json", manifest)
    if folder.exists():
        shutil.rmtree(folder)  # only ever an unfinished leftover: it has no manifest
    work.rename(folder)
    if _shared:
        _link(folder, _shared[-1] / f".{key}.partial", _shared[-1] / key)
    return open_dataset(folder)


def _link(source: Path, work: Path, folder: Path, noted: Mapping[str, Any] | None = None) -> Dataset:
    """The files of a finished dataset under a second name, whole or not at all; the manifest also says what is `noted`."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)  # only ever an unfinished leftover
    shutil.copytree(source, work, copy_function=os.link)
    if noted:
        write_json(work / "manifest.json", {**load_json(source / "manifest.json"), **noted})
    work.rename(folder)
    return open_dataset(folder)
