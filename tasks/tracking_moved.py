"""A run folder that was moved, or copied, takes its own MLflow store along, which knows its artifacts by their full addresses."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

_NAME = "mlartifacts"
_ADDRESSES = {  # table: columns that hold one
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
    "trace_tags": ("value",),
}


def follow(folder: Path) -> None:
    """Where the store in `folder` still speaks of another place, let it speak of this one: MLflow would write there again."""
    store, here = folder / "mlflow.db", artifacts(folder)
    if os.environ.get("MLFLOW_TRACKING_URI") or not store.exists():
        return
    with closing(sqlite3.connect(store)) as database, database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        places = database.execute("SELECT artifact_location FROM experiments") if "experiments" in tables else []
        for there in {place for (place,) in places if place.endswith(f"/{_NAME}") and place != here}:
            for table in _ADDRESSES.keys() & tables:
                for column in _ADDRESSES[table]:
                    moved = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?"
                    database.execute(moved, (here, len(there) + 1, len(there), there))


def artifacts(folder: Path) -> str:
    """Where a run without a server keeps what MLflow holds in files."""
    return (folder / _NAME).resolve().as_uri()
