"""`plumbline status` says what is due and how it went last, in the server's own words as far as they are fit for a terminal."""

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from flows.deployments import told

NIGHTLY, HOURLY = {"cron": "0 2 * * *", "timezone": "UTC"}, {"interval": 5400.0, "anchor_date": "2026-11-22T00:00:00Z"}
COMING = {"state_name": "Scheduled", "expected_start_time": "2026-11-23T02:00:00Z", "state": {"message": "Flow run scheduled"}}


def deployment(name: str, *schedules: dict[str, Any], paused: bool = False, active: bool = True) -> dict[str, Any]:
    due = [{"schedule": schedule, "active": active} for schedule in schedules]
    return {"id": name, "name": name, "paused": paused, "schedules": due, "parameters": {"run_dir": f"/runs/{name}"}}


def ended(name: str, message: str | None) -> dict[str, Any]:
    return {"state_name": name, "expected_start_time": "2026-11-22T03:00:00+01:00", "state": {"message": message}}


@pytest.fixture
def prefect() -> Iterator[tuple[str, dict[str, Any]]]:
    """The address of a server, and what it has: deployments, and for each what is coming and what was."""
    has: dict[str, Any] = {}

    class Prefect(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.path == "/api/deployments/filter":
                found = has["deployments"]
            else:
                (one,), states = asked["flow_runs"]["deployment_id"]["any_"], asked["flow_runs"]["state"]["type"]["any_"]
                found = has["coming" if states == ["SCHEDULED"] else "was"].get(one, [])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

    server = http.server.HTTPServer(("127.0.0.1", 0), Prefect)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", has
    server.shutdown()
    server.server_close()


def test_what_is_due_and_how_it_went_last(prefect: tuple[str, dict[str, Any]]) -> None:
    address, has = prefect
    has["deployments"] = [
        deployment("nightly", NIGHTLY),
        deployment("hourly", HOURLY),
        deployment("asleep", HOURLY, paused=True),
        deployment("off", HOURLY, active=False),
        deployment("hand"),
    ]
    has["coming"] = {"nightly": [COMING], "asleep": [COMING]}
    failed = "Flow run encountered an exception: PlumblineError: a.yaml is gone\x1b[2J"
    has["was"] = {"nightly": [ended("Failed", failed)], "hourly": [ended("Running", None)]}
    assert told(address) == [
        "nightly: 0 2 * * * (UTC), next 2026-11-23 02:00 UTC, into /runs/nightly",
        "    2026-11-22 02:00 UTC Failed: a.yaml is gone [2J",
        "hourly: every 90m, into /runs/hourly",
        "    2026-11-22 02:00 UTC Running",
        "asleep: paused on its page, into /runs/asleep",
        "off: paused on its page, into /runs/off",
        "hand: by hand, into /runs/hand",
    ]


def test_a_server_that_does_not_answer_has_nothing_to_tell() -> None:
    assert told("http://127.0.0.1:9") == []
