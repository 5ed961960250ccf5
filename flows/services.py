"""`plumbline up`: the Prefect and the MLflow server, on loopback, their data in one folder, until `plumbline down`."""

import os
import sys
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from data_contracts.errors import PlumblineError
from data_contracts.parse_yaml import dump_yaml, parse_yaml
from data_contracts.store import load_json, write_json, write_text
from flows import deployments, processes
from flows.lock import locked
from flows.processes import Process

_START_SECONDS = 180
_PORTS = {"prefect": 4200, "mlflow": 5000}  # the ones everybody knows, where nobody listens there yet
_HEALTH = {"prefect": "/api/health", "mlflow": "/health"}
_TITLES = {"prefect": "Prefect", "mlflow": "MLflow"}
_SQLITE = "SQLite"


@dataclass(frozen=True)
class Service:
    name: str  # "prefect" or "mlflow"
    url: str  # http://127.0.0.1:PORT, the UI's address
    process: Process
    database: str  # "SQLite" or an address without password

    @property
    def title(self) -> str:
        return _TITLES[self.name]

    def is_running(self) -> bool:
        return bool(processes.members(self.process))

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def is_answering(self) -> bool:
        """It, and not the server of another folder at the same address."""
        return processes.listens(self.process, self.port) and processes.answers(self.url + _HEALTH[self.name])

    def came_too_late(self) -> bool:
        """It ended because somebody else took its port after that was found free."""
        return not self.is_running() and processes.free_port(self.port) != self.port


def known(folder: Path) -> dict[str, Service]:
    """What was started last in `folder`, running or not, Prefect first."""
    found = load_json(folder / "services.json", {})
    return {name: Service(**(entry | {"process": Process(**entry["process"])})) for name in _PORTS if (entry := found.get(name))}


def running(folder: Path) -> dict[str, Service]:
    return {name: service for name, service in known(folder).items() if service.is_running()}


def exports(services: dict[str, Service]) -> dict[str, str]:
    """The environment that makes Prefect and MLflow clients use these servers."""
    return {"PREFECT_API_URL": f"{services['prefect'].url}/api", "MLFLOW_TRACKING_URI": services["mlflow"].url}


def adopt(folder: Path) -> dict[str, Service]:
    """Use the servers of `folder` in this process where they are up and the environment names no others. Returns those used."""
    services = running(folder)
    used = {}
    if services.keys() == _PORTS.keys():
        for (name, value), service in zip(exports(services).items(), services.values(), strict=True):
            if os.environ.setdefault(name, value) == value:
                used[service.name] = service
    return used


def unused(folder: Path) -> str | None:
    """Why servers that were started in `folder` are used for no run here now; None where they are, or where none were."""
    services, started = running(folder), known(folder)
    if not started or services.keys() == _PORTS.keys():
        return None
    up = f"only {next(iter(services.values())).title} is running" if services else "they are not running"
    return f"the servers in {folder} are not used ({up}): plumbline up starts what is missing"


def up(folder: Path, database: str | None) -> dict[str, Service]:
    """Start what does not run yet and wait until both answer.

    Raises PlumblineError if a server ends or does not answer in time (then none is left running), if the database cannot be used,
    or if the data of this folder's servers lies in another database.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        environments, where = _databases(folder, database)
        before = known(folder)
        _check_database(folder, before, where)
        services = running(folder)

        def start(name: str) -> None:
            services[name] = _start(name, folder, environments[name], where, before.get(name))
            _write(folder, services)  # at once: whatever happens next, `down` finds it

        for name in _PORTS.keys() - services.keys():
            start(name)
        try:
            for name in _PORTS:
                while not _comes(folder, services[name]):
                    start(name)  # at another port
        except BaseException:  # also an impatient Ctrl-C: nothing half-started stays
            for service in services.values():
                processes.stop(service.process)
            raise
        return {name: services[name] for name in _PORTS}


def down(folder: Path) -> list[str]:
    """End both servers; their data stays. Returns the names of those that were running."""
    if not folder.is_dir():
        return []
    with locked(folder):
        found = running(folder)
        for service in found.values():
            processes.stop(service.process)
        return [service.title for service in found.values()]


def unserved(prefect: Service) -> list[str]:
    """Work pools for which no worker asks what is due; none where the server does not answer."""
    try:
        pools = deployments.ask(prefect.url, "/work_pools", {})
    except OSError:
        return []
    return [pool["name"] for pool in pools if pool["status"] == "NOT_READY"]


def _start(name: str, folder: Path, environment: dict[str, str], database: str, before: Service | None) -> Service:
    port = processes.free_port(before.port if before else _PORTS[name])
    url = f"http://127.0.0.1:{port}"
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    where = ["--host", "127.0.0.1", "--port", str(port)]
    if name == "prefect":
        command = [sys.executable, "-m", "prefect", "server", "start", *where]
        home = (folder / "prefect").resolve()
        home.mkdir(exist_ok=True)
        _write_log_settings(home)
        inherited |= {
            "PREFECT_HOME": str(home),
            "PREFECT_LOGGING_CONFIG_PATH": str(home / "logging.yml"),  # else the one in the user's own home is looked for
            "PREFECT_SERVER_MEMO_STORE_PATH": str(home / "memo_store.toml"),  # not in the user's home
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_API_URL": f"{url}/api",
            # In memory, as it is by default, who holds a deployment's one place would be forgotten with the server: a firing
            # that works is then ended, and the place of one that died with the machine never given back.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        }
    else:
        command = [sys.executable, "-m", "mlflow", "server", *where, "--workers", "1"]
        command += ["--artifacts-destination", (folder / "mlartifacts").resolve().as_uri()]
        inherited |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    process = processes.start(command, inherited | environment, folder / f"{name}.log", cwd=folder)
    return Service(name, url, processes.identify(process.pid), database)


def _write_log_settings(home: Path) -> None:
    """Prefect's own, but for what its server (3.7) says under SQLite nearly each time a worker asks what is due: a hundred lines
    on a lock, which it then gets half a second later. They would fill 50 MB a day. What fails for good is told elsewhere."""
    package = find_spec("prefect")  # found, not imported: that takes seconds
    assert package is not None and package.origin is not None
    theirs = Path(package.origin).with_name("logging") / "logging.yml"
    settings = parse_yaml(theirs.read_text(encoding="utf-8"), str(theirs))
    settings["loggers"]["docket.dependencies"] = {"level": "CRITICAL"}
    write_text(home / "logging.yml", dump_yaml(settings))


def _comes(folder: Path, service: Service) -> bool:
    """Wait until it answers. False if it cannot, since another has its port.

    Raises PlumblineError if it ends for another reason, or does not answer in time.
    """
    begin = time.monotonic()
    while not service.is_answering():
        if service.came_too_late():
            return False
        late = time.monotonic() - begin > _START_SECONDS
        if late or not service.is_running():
            what = f"does not answer after {_START_SECONDS} s" if late else "ended at once"
            raise PlumblineError(f"the {service.title} server {what}: see {folder / service.name}.log")
        time.sleep(0.2)
    return True


def _databases(folder: Path, address: str | None) -> tuple[dict[str, dict[str, str]], str]:
    """Each server's environment, and what to call the database."""
    if address is None:
        store = {"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{(folder / 'mlflow.db').resolve()}"}
        return {"prefect": {}, "mlflow": store}, _SQLITE
    from flows import database

    url = database.parse(address)
    database.prepare(url)
    return {"prefect": database.prefect_environment(url), "mlflow": database.mlflow_environment(url)}, database.show(url)


def _check_database(folder: Path, before: dict[str, Service], where: str) -> None:
    for service in before.values():
        if service.database != where:
            again = "leave --database away" if service.database == _SQLITE else "give its address with --database"
            raise PlumblineError(
                f"the servers in {folder} keep their data in {service.database}: {again}, or use another --folder"
            )


def _write(folder: Path, services: dict[str, Service]) -> None:
    write_json(folder / "services.json", {name: asdict(service) for name, service in services.items()})
