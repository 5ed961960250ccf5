"""What would stop the first round of a deployment is said before anything is registered."""

import json
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from data_contracts.errors import PlumblineError
from flows import processes
from flows.deploy import _refuse_shared, check_request, form, parse_interval
from tests.end_to_end.command import ROOT, environment

PORTS = {"prefect": 1, "mlflow": 2}
CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_an_interval_is_a_number_and_a_unit() -> None:
    assert parse_interval("90s") == timedelta(seconds=90)
    assert parse_interval("6h") == timedelta(hours=6)
    for wrong in ("6", "h", "0h", "-1h", "1.5h", "6 h", "6w"):
        with pytest.raises(PlumblineError, match="for example 6h"):
            parse_interval(wrong)


def test_a_cron_expression_is_read_in_utc_wherever_the_machine_stands(tmp_path: Path) -> None:
    request = check_request(CONFIGS / "demo.yaml", tmp_path, "0 2 * * *", None)
    assert request.schedule == {"cron": "0 2 * * *", "timezone": "UTC"}


@pytest.mark.parametrize(
    ("config", "cron", "interval", "complaint"),
    [
        ("demo", "0 2 * * *", "6h", "exclude each other"),
        ("demo", "0 2 * *", None, "no cron expression"),
        ("human_pairs", None, "6h", "only flow: rounds"),
        ("absent", None, "6h", "does not exist"),
    ],
)
def test_a_request_that_cannot_work_is_refused(
    config: str, cron: str | None, interval: str | None, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(PlumblineError, match=complaint):
        check_request(CONFIGS / f"{config}.yaml", tmp_path, cron, interval)


def test_a_run_of_another_configuration_is_not_continued(tmp_path: Path) -> None:
    text = (CONFIGS / "demo.yaml").read_text().replace("../models", str(CONFIGS.parent / "models"))
    (tmp_path / "config.yaml").write_text(text.replace("seed: 2", "seed: 3"))
    with pytest.raises(PlumblineError, match="seed was 3, is 2"):
        check_request(CONFIGS / "demo.yaml", tmp_path, None, "6h")
    (tmp_path / "config.yaml").write_text(text.replace("rounds: 2", "rounds: 5"))  # more rounds are the same run
    assert check_request(CONFIGS / "demo.yaml", tmp_path, None, "6h").folder == tmp_path


@pytest.mark.parametrize(
    ("name", "run_dir", "refused"),
    [
        ("other", "/runs/demo", True),
        ("nightly", "/runs/demo", False),  # deployed again
        ("other", "/runs/other", False),
        ("other", str(ROOT / "runs" / "imaged"), True),  # a container sees it below its own working directory
    ],
)
def test_two_deployments_do_not_share_a_run(name: str, run_dir: str, refused: bool) -> None:
    """Until the first round exists nothing in the folder would refuse the second."""
    known = {"nightly": "/runs/demo", "imaged": "runs/imaged"}
    found = [SimpleNamespace(name=other, parameters={"run_dir": folder}) for other, folder in known.items()]
    client = cast(Any, SimpleNamespace(read_deployments=lambda **_: found))
    with pytest.raises(PlumblineError, match="adds its rounds to") if refused else nullcontext():
        _refuse_shared(client, name, run_dir)


def test_the_server_is_known_before_prefect_reads_its_settings(tmp_path: Path) -> None:
    """With a cron expression Prefect is imported to check it: it took its own server in a temporary place for the one of `up`."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as standing_in:
        process = asdict(processes.identify(standing_in.pid))
        known = {
            n: {"name": n, "url": f"http://127.0.0.1:{p}", "process": process, "database": "SQLite"} for n, p in PORTS.items()
        }
        (tmp_path / "services.json").write_text(json.dumps(known))
        script = f"""
from pathlib import Path
from flows import deploy, server
from flows.cli_schedule import deploy as command
def registered(request, pool):
    from prefect.settings import PREFECT_API_URL
    raise SystemExit(PREFECT_API_URL.value())
deploy.deploy = registered
server.PrefectServer.check_given = lambda self: None
command(Path("configs/demo.yaml"), "0 2 * * *", None, Path({str(tmp_path / "run")!r}), "plumbline", Path({str(tmp_path)!r}))
"""
        told = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True)
        standing_in.kill()
    assert told.stderr.strip() == "http://127.0.0.1:1/api"


def test_a_form_refuses_what_it_does_not_know_in_one_sentence() -> None:
    from prefect.utilities.schema_tools.validation import ValidationError, validate

    given = {"config": "demo.yaml", "run_dir": "runs/demo", "rounds": 1, "overrides": {}}
    validate(given, form(), raise_on_error=True)
    for wrong, complaint in (
        ({"round": 2}, "'round' was unexpected"),
        ({"overrides": {"epoch": 2}}, "'epoch' was unexpected"),
        ({"rounds": 0}, "'rounds'.*minimum"),
    ):
        with pytest.raises(ValidationError, match=complaint) as refused:
            validate(given | wrong, form(), raise_on_error=True)
        assert "\n" not in str(refused.value)
