"""One pair of real servers for a whole test session, with a run that a real schedule made: what the operating tests look at.

Making it takes minutes, so everything is asked of this one run: its first firing is stopped in the middle and retried on
Prefect's page, one does nothing beside somebody else, and the last one adds a round.
"""

import fcntl
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flows import services
from flows.server import PrefectServer
from tests.browser import CHROMIUM, chromium
from tests.end_to_end.command import PLUMBLINE, ROOT, environment, left_running, plumbline

TINY = {"per_round": 160, "epochs": 2}


@dataclass
class Operated:
    """`firings`: the flow runs of the deployment as they were at the end, in the order of their start."""

    home: Path
    run: Path
    prefect: str  # http://127.0.0.1:PORT
    mlflow: str
    deployment: str  # id
    retried: str  # id of the flow run that failed and was retried
    finished_before_retry: dict[str, int] = field(default_factory=dict)  # data file: time of its last change
    at_failure: dict[str, Any] = field(default_factory=dict)  # the MLflow run when the first firing had failed
    beside_somebody: dict[str, Any] = field(default_factory=dict)  # a firing on the folder while another process worked there
    firings: list[dict[str, Any]] = field(default_factory=list)

    def api(self, path: str, body: Any = None, method: str = "POST") -> Any:
        """What Prefect's API answers, as its pages would see it; asked again where its database is locked."""
        data = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(f"{self.prefect}/api{path}", data, {"content-type": "application/json"}, method=method)
        for left in range(9, -1, -1):
            try:
                with urllib.request.urlopen(request, timeout=90) as reply:
                    text = reply.read()
                break
            except urllib.error.HTTPError as error:
                if error.code != 503 or not left:
                    raise
                time.sleep(0.5)
        return json.loads(text) if text else None

    def flow_runs(self) -> list[dict[str, Any]]:
        """The deployment's runs that have left the schedule, in the order in which they were due."""
        found = self.api("/flow_runs/filter", {"deployments": {"id": {"any_": [self.deployment]}}, "limit": 200})
        begun = [run for run in found if run["state_type"] != "SCHEDULED"]
        return sorted(begun, key=lambda run: run["expected_start_time"])

    def in_state(self, *states: str) -> list[dict[str, Any]]:
        return [run for run in self.flow_runs() if run["state_type"] in states]

    def wait(self, what: str, condition: Callable[[], Any], seconds: float = 420) -> Any:
        """What `condition` finds as soon as it finds something; a server that does not answer is asked again."""
        begin, found = time.monotonic(), None
        while not found:
            assert time.monotonic() - begin < seconds, f"{what}: not after {seconds} s\n{self.story()}"
            time.sleep(0.3)
            with suppress(OSError):
                found = condition()
        return found

    def story(self) -> str:
        """For a failed assertion: what the flow runs say, and the end of every log."""
        states = []
        with suppress(OSError):
            states = [f"{run['name']}: {run['state_name']} {(run['state'] or {}).get('message')}" for run in self.flow_runs()]
        return "\n".join([*states, tails(self.home)])

    @contextmanager
    def worker(self) -> Iterator[None]:
        fast = environment(self.home) | {"PREFECT_WORKER_QUERY_SECONDS": "2"}
        with (self.home / "worker.log").open("ab") as log:
            command = [str(PLUMBLINE), "worker", "--services", str(self.run.parent / "services")]
            process = subprocess.Popen(
                command, cwd=ROOT, env=fast, stdout=log, stderr=log, start_new_session=True, preexec_fn=_in_the_background
            )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def _in_the_background() -> None:
    """As a shell without job control begins `plumbline worker &`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def tails(home: Path) -> str:
    """The end of every log below `home`."""
    logs = sorted(path for path in home.rglob("*.log") if path.is_file())
    return "\n".join(f"--- {path}\n{path.read_text(errors='replace')[-3000:]}" for path in logs)


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that everybody uses."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PREFECT_API_URL", "PREFECT_HOME", "PREFECT_RESULTS_LOCAL_STORAGE_PATH"):
            patch.setenv(name, "")  # so that what the server sets is taken back afterwards
            patch.delenv(name)
        server = PrefectServer(tmp_path_factory.mktemp("prefect"))
        server.start()
        server.wait()
    yield server.url
    server.stop()


def post(api: str, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(f"{api}{path}", json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def ask(api: str, path: str, filters: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = post(api, path, filters)
    return found


@pytest.fixture(scope="session")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    """Running servers, a deployment, and a run of two rounds that its schedule has made. Shared: leave it as you found it."""
    home = tmp_path_factory.mktemp("operated")
    folder, run = home / "runs" / "services", home / "runs" / "demo"
    try:
        up = plumbline(home, "up", "--folder", str(folder))
        assert up.returncode == 0, up.stderr + tails(home)
        found = services.running(folder)
        deployed = _deploy(home, run, folder)
        it = Operated(home, run, found["prefect"].url, found["mlflow"].url, deployed, "")
        with it.worker():
            _fail_and_retry(it)
            _fire_beside_somebody(it)
            _fire_again(it)
        yield it
    finally:
        plumbline(home, "down", "--folder", str(folder))
        assert left_running(home) == []


def _deploy(home: Path, run: Path, folder: Path) -> str:
    config = home / "demo.yaml"
    text = (ROOT / "configs" / "demo.yaml").read_text().replace("../models", str(ROOT / "models"))
    text = text.replace("per_round: 800", f"per_round: {TINY['per_round']}").replace("epochs: 4", f"epochs: {TINY['epochs']}")
    config.write_text(text.replace("min_rows: 64", "min_rows: 16").replace("5.0e-4", "1.0e-3"))
    where = ["--run-dir", str(run), "--services", str(folder)]
    deployed = plumbline(home, "deploy", str(config), "--interval", "20s", *where)
    assert deployed.returncode == 0, deployed.stderr + tails(home)
    return deployed.stdout.rpartition("/deployments/deployment/")[2].split()[0]


def _fail_and_retry(it: Operated) -> None:
    """The first firing meets an obstacle in the middle of its round; another comes while it works; it is retried."""
    obstacle = it.run / "round-1" / "evaluate"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("in the way")
    it.wait("a firing that meets another", lambda: it.in_state("CANCELLED"))
    it.api(f"/deployments/{it.deployment}/pause_deployment")
    (failed,) = it.wait("the failure", lambda: it.in_state("FAILED"))
    it.retried = failed["id"]
    it.finished_before_retry = {str(path): path.stat().st_mtime_ns for path in it.run.glob("round-*/[!.]*/data.parquet")}
    known = json.loads((it.run / "tracking.json").read_text())["run_id"]
    with urllib.request.urlopen(f"{it.mlflow}/api/2.0/mlflow/runs/get?run_id={known}", timeout=30) as reply:
        it.at_failure = json.load(reply)["run"]
    # A person is slower than this test. Retried while its process still ends, Prefect 3.7.7 takes that end for the new attempt's.
    it.wait("the end of its process", lambda: "exited with status code" in (it.home / "worker.log").read_text())
    time.sleep(2)  # in which the worker tells the server so: nothing shows when it has
    obstacle.unlink()
    _retry(it, failed["id"])
    it.wait("the retry", lambda: it.in_state("COMPLETED"))


def _retry(it: Operated, flow_run: str) -> None:
    """As a person does; without a browser, what the button sends."""
    if CHROMIUM is None:
        again = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": False}
        it.api(f"/flow_runs/{flow_run}/set_state", again)
        return
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.goto(f"{it.prefect}/runs/flow-run/{flow_run}")
        page.get_by_role("button", name="Retry").click()
        page.locator(".p-modal").get_by_role("button", name="Retry").click()
        it.wait("a second attempt", lambda: it.api(f"/flow_runs/{flow_run}", method="GET")["state_type"] != "FAILED")


def _fire_beside_somebody(it: Operated) -> None:
    with (it.run / ".lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        by_hand = it.api(f"/deployments/{it.deployment}/create_flow_run", {"state": {"type": "SCHEDULED"}})["id"]
        told = it.wait("its end", lambda: [run for run in it.in_state("COMPLETED", "FAILED") if run["id"] == by_hand])
    it.beside_somebody = told[0]


def _fire_again(it: Operated) -> None:
    it.api(f"/deployments/{it.deployment}/resume_deployment")
    it.wait("the second firing", lambda: it.in_state("RUNNING"))
    it.api(f"/deployments/{it.deployment}/pause_deployment")
    it.wait("its end", lambda: len(it.in_state("COMPLETED")) > 2 and not it.in_state("RUNNING", "PENDING"))
    it.firings = it.flow_runs()
