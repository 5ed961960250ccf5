"""What tracking servers were told, remembered in the `tracking.json` of a run or a sweep: one entry a server."""

import json
from pathlib import Path
from typing import Any

from tasks.tracking_client import server

State = dict[str, Any]  # "server": its digest, "run_id": the MLflow run, and what else its writer remembers


def known(client: Any, path: Path) -> State:
    """The entry of the server that `client` asks, to go on with; empty where it knows nothing.

    A server is recognised by knowing the entry's run: under another address, since a port was taken, it is still the same, and
    one whose data was deleted has to be told anew. Entries of other servers stay for the time when they are used again.
    """
    entries = _entries(path)
    entries.sort(key=lambda entry: entry["server"] != server())
    found = next((entry for entry in entries if _knows(client, entry["run_id"])), None)
    return found | {"server": server()} if found else {}


def remembered(path: Path) -> State:
    """The entry that was written last; asks no server."""
    return next(iter(_entries(path)), {})


def with_others(path: Path, state: State) -> str:
    """What `path` is to hold from now on: `state` first, then the entries of other servers."""
    others = [e for e in _entries(path) if e["server"] != state["server"] and e["run_id"] != state["run_id"]]
    return json.dumps(state | ({"others": others} if others else {}), indent=2)


def _entries(path: Path) -> list[State]:
    if not path.exists():
        return []
    last = json.loads(path.read_text(encoding="utf-8"))
    return [last, *last.pop("others", [])]


def _knows(client: Any, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True
