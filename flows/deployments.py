"""What a Prefect server fires, when, and how it went last: asked of its API, since to import Prefect takes seconds."""

import json
import urllib.request
from datetime import UTC, datetime
from typing import Any

from data_contracts.plain import safe

_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_BEGUN = ["PENDING", "RUNNING", "CANCELLING", "COMPLETED", "FAILED", "CRASHED", "CANCELLED", "PAUSED"]


def ask(server: str, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """What the API of `server` (http://HOST:PORT) finds. Raises OSError where it does not answer."""
    request = urllib.request.Request(
        f"{server}/api{path}/filter", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=5) as reply:
        found: list[dict[str, Any]] = json.load(reply)
    return found


def told(server: str) -> list[str]:
    """Two lines a deployment: when it is due and where its rounds lie; how its latest firing went, if it had one."""
    lines = []
    try:
        for one in ask(server, "/deployments", {"deployments": {"tags": {"all_": ["plumbline"]}}, "sort": "NAME_ASC"}):
            lines.append(f"{safe(one['name'])}: {_due(server, one)}, into {safe(str(one['parameters'].get('run_dir')))}")
            lines += [f"    {_went(run)}" for run in _firings(server, one, _BEGUN, "EXPECTED_START_TIME_DESC")]
    except OSError:  # it does not answer, which is told in a line of its own
        return []
    return lines


def _due(server: str, deployment: dict[str, Any]) -> str:
    active = [_rhythm(schedule["schedule"]) for schedule in deployment["schedules"] if schedule["active"]]
    if deployment["paused"] or (deployment["schedules"] and not active):
        return "paused on its page"
    coming = _firings(server, deployment, ["SCHEDULED"], "EXPECTED_START_TIME_ASC") if active else []
    return ", ".join([*(active or ["by hand"]), *(f"next {_when(run)}" for run in coming)])


def _firings(server: str, deployment: dict[str, Any], states: list[str], sort: str) -> list[dict[str, Any]]:
    """The first of those in one of these states, if there is any."""
    only = {"deployment_id": {"any_": [deployment["id"]]}, "state": {"type": {"any_": states}}}
    return ask(server, "/flow_runs", {"flow_runs": only, "sort": sort, "limit": 1})


def _rhythm(schedule: dict[str, Any]) -> str:
    if "interval" not in schedule:
        return f"{schedule.get('cron') or schedule.get('rrule')} ({schedule.get('timezone') or 'UTC'})"
    seconds = round(schedule["interval"])
    unit = next(unit for unit, length in _SECONDS.items() if seconds % length == 0)
    return f"every {seconds // _SECONDS[unit]}{unit}"


def _went(run: dict[str, Any]) -> str:
    message = str((run["state"] or {}).get("message") or "").rpartition("PlumblineError: ")[2]
    return f"{_when(run)} {safe(run['state_name'])}{f': {safe(message)}' if message else ''}"


def _when(run: dict[str, Any]) -> str:
    moment = datetime.fromisoformat(run["expected_start_time"])
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
