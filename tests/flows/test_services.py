"""`plumbline up`: real servers that answer, keep their data, hide what is secret, and are gone after `plumbline down`."""

import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_contracts.errors import PlumblineError
from flows import database, processes, services
from flows.cli import past_any_proxy
from tests.end_to_end.command import ROOT, left_running, plumbline
from tests.postgres import PASSWORD, cluster


def test_up_on_postgresql_answers_keeps_its_data_tells_no_password_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "services"
    with cluster() as address:
        up = plumbline(tmp_path, "up", "--folder", str(folder), "--database", address)
        assert up.returncode == 0, up.stderr + "".join(p.read_text()[-3000:] for p in folder.glob("*.log"))
        found = services.running(folder)
        assert all(service.is_answering() for service in found.values())
        for name, value in services.exports(found).items():
            assert f"export {name}={value}" in up.stdout
        tables = _tables(address)
        assert {"flow_run", "artifact"} <= tables["prefect"]
        assert {"runs", "metrics"} <= tables["mlflow"]
        assert not tables.keys() & {"public"}
        assert not list(folder.rglob("*.db"))
        place = {"slots": 1, "names": ["a deployment's"], "holder": {"type": "flow_run", "id": "0" * 32}}
        _post(found["prefect"].url, "/v2/concurrency_limits/", {"name": "a deployment's", "limit": 1})
        lease = _post(found["prefect"].url, "/v2/concurrency_limits/increment-with-lease", place)["lease_id"]
        assert (folder / "prefect" / "concurrency_leases" / f"{lease}.json").exists()  # for the server after this one
        told = up.stdout + up.stderr + "".join(p.read_text(errors="replace") for p in folder.rglob("*") if p.is_file())
        commands = "".join(left_running(tmp_path))
        for secret in (PASSWORD, address, address.split("@")[0].rpartition(":")[2]):
            assert secret not in told + commands
        assert commands.count("server") >= 2
        shown = plumbline(tmp_path, "status", "--services", str(folder))
        assert "127.0.0.1" in shown.stdout
        down = plumbline(tmp_path, "down", "--folder", str(folder))
        assert "Prefect and MLflow stopped" in down.stdout
    assert left_running(tmp_path) == []
    other = plumbline(tmp_path, "up", "--folder", str(folder))
    assert other.returncode == 2
    assert "give its address with --database" in other.stderr
    assert "no services are running" in plumbline(tmp_path, "status", "--services", str(folder)).stdout
    again = plumbline(tmp_path, "down", "--folder", str(folder))
    assert "nothing was running" in again.stdout


def test_a_database_that_cannot_hold_every_text_is_refused() -> None:
    import psycopg2

    with cluster() as address:
        connection = psycopg2.connect(address)
        connection.autocommit = True
        connection.cursor().execute("CREATE DATABASE narrow ENCODING 'SQL_ASCII' TEMPLATE template0")
        connection.close()
        database.prepare(database.parse(address))
        with pytest.raises(PlumblineError, match="/narrow is encoded in SQL_ASCII, which cannot hold every text: name one"):
            database.prepare(database.parse(address.removesuffix("postgres") + "narrow"))


def _post(server: str, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(f"{server}/api{path}", json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def _tables(address: str) -> dict[str, set[str]]:
    import psycopg2

    connection = psycopg2.connect(address)
    with connection, connection.cursor() as cursor:
        query = (
            "select table_schema, table_name from information_schema.tables where table_schema in ('prefect', 'mlflow', 'public')"
        )
        cursor.execute(query)
        found: dict[str, set[str]] = {}
        for schema, table in cursor.fetchall():
            found.setdefault(schema, set()).add(table)
    connection.close()
    return found


@pytest.mark.parametrize("address", ["mysql://owner:hidden@127.0.0.1/db", "postgresql://owner:hidden@127.0.0.1:1", "hidden"])
def test_an_address_that_cannot_serve_is_refused_without_its_password(address: str, tmp_path: Path) -> None:
    with pytest.raises(PlumblineError, match="postgresql://USER:PASSWORD@HOST:PORT/DATABASE") as refused:
        services.up(tmp_path, address)
    assert "hidden" not in str(refused.value)


def test_a_database_that_does_not_answer_is_one_sentence_without_password(tmp_path: Path) -> None:
    with pytest.raises(PlumblineError, match="cannot be used") as refused:
        services.up(tmp_path, "postgresql://owner:hidden@127.0.0.1:1/db")
    assert "hidden" not in str(refused.value)
    assert services.known(tmp_path) == {}


def test_tls_is_asked_of_each_driver_by_its_own_name() -> None:
    url = database.parse("postgresql://owner:word@db.example/plumbline?sslmode=require")
    assert "ssl=require" in database.prefect_environment(url)["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    assert "sslmode=require" in database.mlflow_environment(url)["MLFLOW_BACKEND_STORE_URI"]
    assert "word" not in database.show(url)


def test_a_number_that_belongs_to_another_process_by_now_is_left_alone() -> None:
    ours = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        process = processes.identify(ours.pid)
        assert processes.members(process) == [ours.pid]
        for reused in (replace(process, began=process.began - 1), replace(process, boot="an earlier one")):
            assert processes.members(reused) == []
            processes.stop(reused)
            assert ours.poll() is None
        processes.stop(process)
        assert ours.wait(timeout=5) is not None
    finally:
        ours.kill()


def test_a_server_of_a_run_gives_way_to_its_stages_and_is_spared_their_ctrl_c(tmp_path: Path) -> None:
    server = processes.start_bound(["sleep", "60"], os.environ, tmp_path / "log")
    try:
        assert os.getpriority(os.PRIO_PROCESS, server.pid) > os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getsid(server.pid) == os.getsid(0)  # in another session niceness would be for nothing
        assert os.getpgid(server.pid) == server.pid
    finally:
        processes.stop(processes.identify(server.pid))
        assert server.wait(timeout=5) is not None


def test_a_group_that_ends_by_itself_while_it_is_stopped_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen(["true"], start_new_session=True)
    process = processes.identify(gone.pid)
    gone.wait()
    seen = iter([[gone.pid]])  # it was there a moment ago
    monkeypatch.setattr(processes, "members", lambda _: next(seen, []))
    processes.stop(process)


def test_loopback_is_asked_past_any_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("urllib.request._opener", None)  # made once, with the proxies of that moment
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody answers
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "corp.example")
    url = f"http://127.0.0.1:{server.server_port}/"
    assert not processes.answers(url)
    past_any_proxy()
    assert processes.answers(url) and os.environ["no_proxy"] == "corp.example,127.0.0.1,localhost" == os.environ["NO_PROXY"]
    server.shutdown()
    server.server_close()


ANSWERING = """
import http.server, sys
class Yes(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Yes).serve_forever()
"""


def test_a_port_that_another_took_meanwhile_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`up` in two folders at once: the second said that its servers are up, and meant those of the first."""
    begin, find = processes.start, processes.free_port

    def start(command: list[str], environment: dict[str, str], log: Path, cwd: Path) -> "subprocess.Popen[bytes]":
        return begin([sys.executable, "-c", ANSWERING, command[command.index("--port") + 1]], environment, log, cwd)

    taken = find()
    other = begin([sys.executable, "-c", ANSWERING, str(taken)], os.environ, tmp_path / "log")
    found = iter([taken, taken])  # free a moment ago, for both
    monkeypatch.setattr(processes, "start", start)
    monkeypatch.setattr(processes, "free_port", lambda wanted=0: next(found, None) or find(wanted))
    try:
        while not processes.answers(f"http://127.0.0.1:{taken}/health"):
            assert other.poll() is None
        up = services.up(tmp_path, None)
        assert all(service.is_answering() for service in up.values())
        assert len({taken, *(service.port for service in up.values())}) == 3
        assert services.known(tmp_path) == services.running(tmp_path) == up
    finally:
        services.down(tmp_path)
        processes.stop(processes.identify(other.pid))
        other.wait()


def test_a_work_pool_that_no_worker_serves_is_told() -> None:
    class Pools(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            pools = [{"name": "served", "status": "READY"}, {"name": "forgotten", "status": "NOT_READY"}]  # as Prefect answers
            self.send_response(200 if self.path == "/api/work_pools/filter" else 404)
            self.end_headers()
            self.wfile.write(json.dumps(pools).encode())

    server = http.server.HTTPServer(("127.0.0.1", 0), Pools)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    process = processes.identify(os.getpid())
    prefect = services.Service("prefect", f"http://127.0.0.1:{server.server_port}", process, "SQLite")
    assert services.unserved(prefect) == ["forgotten"]
    server.shutdown()
    server.server_close()
    assert services.unserved(prefect) == []


def test_what_prefect_logs_is_as_it_was_but_for_one_logger(tmp_path: Path) -> None:
    from prefect.logging.configuration import DEFAULT_LOGGING_SETTINGS_PATH

    services._write_log_settings(tmp_path)
    ours, theirs = (yaml.safe_load(path.read_text()) for path in (tmp_path / "logging.yml", DEFAULT_LOGGING_SETTINGS_PATH))
    assert ours["loggers"].pop("docket.dependencies") == {"level": "CRITICAL"}
    assert ours == theirs


def test_what_prefect_logs_is_read_from_the_folder_of_the_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, str] = {}

    def start(_command: object, environment: dict[str, str], *_: object, **__: object) -> "subprocess.Popen[bytes]":
        given.update(environment)
        return subprocess.Popen(["sleep", "60"], start_new_session=True)

    monkeypatch.setattr(processes, "start", start)
    processes.stop(services._start("prefect", tmp_path, {}, "SQLite", None).process)
    script = "from prefect.logging.configuration import setup_logging; print(setup_logging()['loggers']['docket.dependencies'])"
    told = subprocess.run([sys.executable, "-c", script], env=given, cwd=ROOT, capture_output=True, text=True)
    assert "CRITICAL" in told.stdout, told.stderr


def test_what_a_group_started_is_stopped_with_it_even_after_its_leader(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! > {tmp_path / 'child'}; kill -9 $$"
    leader = subprocess.Popen(["bash", "-c", f"sleep 0.3; {script}"], start_new_session=True)
    process = processes.identify(leader.pid)
    leader.wait()
    assert processes.members(process) == [int((tmp_path / "child").read_text())]
    processes.stop(process)
    assert processes.members(process) == []


def test_a_run_beside_running_services_uses_them_unless_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")  # so that what is set here is taken back afterwards
        monkeypatch.delenv(name)
    standing_in = subprocess.Popen(["sleep", "60"], start_new_session=True)
    process, urls = processes.identify(standing_in.pid), {"prefect": "http://127.0.0.1:1", "mlflow": "http://127.0.0.1:2"}
    services._write(tmp_path, {name: services.Service(name, url, process, "SQLite") for name, url in urls.items()})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    assert services.adopt(tmp_path).keys() == {"prefect"}
    assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:1/api"
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://elsewhere"
    monkeypatch.delenv("PREFECT_API_URL")
    processes.stop(process)
    standing_in.wait()
    assert services.adopt(tmp_path) == {}
    assert "PREFECT_API_URL" not in os.environ
