"""The files in infra/ fit the code and each other, as far as that can be known without a Docker engine or a cluster."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from flows import database
from models.prerequisites import COMPILERS, LIBRARIES
from tests.end_to_end.command import plumbline
from tests.operate.services import Operated

ROOT = Path(__file__).resolve().parent.parent
INFRA = ROOT / "infra"
POOLS = {"docker": INFRA / "pool_docker.json", "kubernetes": INFRA / "pool_kubernetes.json"}


def compose() -> dict[str, Any]:
    text = (INFRA / "compose.yaml").read_text()
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def test_compose_opens_nothing_to_the_network_and_holds_no_password() -> None:
    services = compose()["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert sorted(ports) == ["127.0.0.1:4200:4200", "127.0.0.1:5000:5000"]
    secrets = re.findall(r"(?m)^ *\w*(?:PASSWORD|SECRET_ACCESS_KEY): (.*)$", (INFRA / "compose.yaml").read_text())
    assert len(secrets) > 1
    assert all(secret.startswith("${") for secret in secrets)
    example = (INFRA / "compose.env.example").read_text()
    assert set(re.findall(r"\$\{(\w+)", (INFRA / "compose.yaml").read_text())) == set(re.findall(r"(?m)^(\w+)=$", example))


def test_compose_pins_what_it_does_not_build_and_waits_only_for_what_is_there() -> None:
    services = compose()["services"]
    for name, service in services.items():
        assert "build" in service or re.search(r":\d", service["image"]), name
        assert set(service.get("depends_on", {})) <= services.keys(), name
    stages = re.findall(r"(?m)^FROM \S+(?: AS (\w+))?", (INFRA / "Dockerfile").read_text())
    assert {service["build"]["target"] for service in services.values() if "build" in service} <= set(stages)


def test_compose_gives_each_server_the_schema_that_the_code_gives_it() -> None:
    url = database.parse("postgresql://plumbline:${DATABASE_PASSWORD}@database:5432/plumbline")
    services = compose()["services"]
    schema = "PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_SEARCH_PATH"
    assert services["prefect"]["environment"][schema] == database.prefect_environment(url)[schema]
    store = services["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"]
    assert database.parse(store).query == database.parse(database.mlflow_environment(url)["MLFLOW_BACKEND_STORE_URI"]).query
    assert all(f"CREATE SCHEMA IF NOT EXISTS {name}" in services["schemas"]["command"][-1] for name in database.SCHEMAS)


def test_the_cluster_s_worker_is_of_the_same_version_as_the_clients() -> None:
    locked = re.search(r"(?m)^prefect==(\S+)$", (ROOT / "requirements" / "cpu.txt").read_text())
    assert locked
    objects = list(yaml.safe_load_all((INFRA / "kubernetes.yaml").read_text()))
    (worker,) = (o for o in objects if o["kind"] == "Deployment")
    assert worker["spec"]["template"]["spec"]["containers"][0]["image"].startswith(f"prefecthq/prefect:{locked[1]}-")
    claims = [o["metadata"]["name"] for o in objects if o["kind"] == "PersistentVolumeClaim"]
    assert json.loads(POOLS["kubernetes"].read_text())["variables"]["properties"]["runs_claim"]["default"] in claims


@pytest.mark.parametrize("kind", POOLS)
def test_a_job_template_names_only_variables_that_it_declares(kind: str) -> None:
    template = json.loads(POOLS[kind].read_text())
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"])))
    assert used == template["variables"]["properties"].keys()


@pytest.fixture
def seen_by_containers() -> Iterator[Path]:
    """A folder inside the checkout that git does not see."""
    (ROOT / "runs").mkdir(exist_ok=True)
    with TemporaryDirectory(dir=ROOT / "runs") as folder:
        yield Path(folder)


@pytest.mark.engine
@pytest.mark.parametrize("kind", POOLS)
def test_prefect_takes_the_job_template_and_a_deployment_to_its_pool(
    kind: str, operated: Operated, seen_by_containers: Path
) -> None:
    operated.api("/work_pools/", {"name": kind, "type": kind, "base_job_template": json.loads(POOLS[kind].read_text())})
    config, services = seen_by_containers / f"{kind}.yaml", ["--services", str(operated.run.parent / "services")]
    text = (ROOT / "configs" / "demo.yaml").read_text()
    config.write_text(text.replace("name: demo", f"name: {kind}").replace("../models", str(ROOT / "models")))
    done = plumbline(operated.home, "deploy", str(config), "--pool", kind, *services)
    assert done.returncode == 0, done.stderr
    deployment = operated.api(f"/deployments/name/scheduled%20rounds/{kind}", method="GET")
    operated.api(f"/deployments/{deployment['id']}", method="DELETE")
    assert deployment["parameters"]["config"] == config.relative_to(ROOT).as_posix()  # as the image sees it
    assert deployment["parameters"]["run_dir"] == f"runs/{kind}"
    assert f"prefect worker start --pool {kind} --type {kind}" in done.stdout
    outside = plumbline(operated.home, "deploy", str(config), "--pool", kind, "--run-dir", str(operated.home), *services)
    assert outside.returncode == 2
    assert "a container does not see it" in outside.stderr


def test_the_image_installs_what_vllm_takes_from_the_machine() -> None:
    installed = (INFRA / "Dockerfile").read_text().split("apt-get install", 1)[1].split("&&", 1)[0].split()
    compilers = [usual for _, usual, *_ in COMPILERS.values()]
    libraries = [package for needed in LIBRARIES.values() for package in needed.values()]
    assert {*compilers, *libraries} <= {*installed}
    assert len({*compilers, *libraries}) == 3
