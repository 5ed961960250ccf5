"""A round on Prefect's page reads like a story, and its words are kept: asked of the API that the page asks."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.operate.services import Operated

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def artifacts(operated: Operated) -> list[dict[str, Any]]:
    found = operated.api("/artifacts/filter", {"limit": 200, "sort": "CREATED_DESC"})
    return [artifact for artifact in reversed(found) if artifact["key"]]  # so that the latest of a key counts


def of_kind(artifacts: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {artifact["key"]: artifact for artifact in artifacts if artifact["type"] == kind}


def test_every_stage_is_a_named_task_with_a_table_of_its_counts(operated: Operated, artifacts: list[dict[str, Any]]) -> None:
    tasks = {task["name"] for task in operated.api("/task_runs/filter", {"limit": 200})}
    stages = ("prompts", "sample", "validate samples", "revise", "pair", "validate pairs", "align", "evaluate", "win rate")
    tables = of_kind(artifacts, "table")
    for stage in stages:
        assert f"round 2: {stage}" in tasks
        rows = json.loads(tables[f"demo-round-2-{stage.replace(' ', '-')}"]["data"])
        assert {"rows", "seconds", "made from"} <= {row["what"] for row in rows}


def test_every_gate_shows_its_contracts_and_why_they_are_there(artifacts: list[dict[str, Any]]) -> None:
    gate = of_kind(artifacts, "table")["demo-round-1-validate-pairs-gate"]
    rows = json.loads(gate["data"])
    assert "rows kept" in gate["description"]
    assert len(rows) > 5
    assert all(row["why"] and row["holds"] in ("yes", "no") for row in rows)


def test_progress_is_shown_and_ends_at_all(artifacts: list[dict[str, Any]]) -> None:
    shown = of_kind(artifacts, "progress")
    assert {"demo-round-2-sample-progress", "demo-round-2-align-progress"} <= shown.keys()
    assert all(
        float(json.loads(str(artifact["data"]))) == 100.0 for key, artifact in shown.items() if key.startswith("demo-round-2")
    )


def test_the_decision_is_told_in_words(artifacts: list[dict[str, Any]]) -> None:
    text = of_kind(artifacts, "markdown")["demo-round-2-decision"]["data"]
    assert text.startswith(("Promoted: ", "Rolled back: "))


def test_a_failure_says_what_happened_and_what_to_do(operated: Operated, artifacts: list[dict[str, Any]]) -> None:
    told = of_kind(artifacts, "markdown")["demo-failure"]
    assert told["flow_run_id"] == operated.retried
    assert "Retry" in told["data"]
    assert "plumbline resume" in told["data"]


def test_it_links_to_the_mlflow_run_which_had_failed_and_to_the_report_there(
    operated: Operated, artifacts: list[dict[str, Any]]
) -> None:
    from mlflow import MlflowClient

    text = " ".join(artifact["data"] for artifact in of_kind(artifacts, "markdown").values() if "http" in artifact["data"])
    assert f"{operated.mlflow}/#/experiments/" in text
    run_id = text.split("/runs/")[1].split(")")[0].split("/")[0]
    client = MlflowClient(operated.mlflow)
    assert operated.at_failure["info"]["status"] == "FAILED"
    assert "evaluate" in next(tag["value"] for tag in operated.at_failure["data"]["tags"] if tag["key"] == "plumbline.failure")
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"  # the failure in between is over
    assert "plumbline.failure" not in run.data.tags
    assert "report.html" in [file.path for file in client.list_artifacts(run_id)]


def test_lineage_leads_from_the_model_back_to_its_prompts(operated: Operated) -> None:
    events = list(_asset_events(operated))
    made = {event["resource"]["prefect.resource.id"]: event for event in events if event["event"].endswith(".succeeded")}
    waiting, ancestors = ["plumbline://demo/round-2/align"], set()
    while waiting:
        if (place := waiting.pop()) not in ancestors and place in made:
            ancestors.add(place)
            waiting += [r["prefect.resource.id"] for r in made[place]["related"] if r["prefect.resource.role"] == "asset"]
    stages = {place.removeprefix("plumbline://demo/round-2/") for place in ancestors}
    assert {"prompts", "sample", "validate_samples", "revise", "pair", "validate_pairs", "align"} <= stages
    assert "evaluate" not in stages


def _asset_events(operated: Operated) -> Iterator[dict[str, Any]]:
    page = operated.api("/events/filter", {"filter": {"event": {"prefix": ["prefect.asset"]}}, "limit": 50})
    while page:
        yield from page["events"]
        following = page.get("next_page")
        page = operated.api(following.split("/api")[1], method="GET") if following else None


def test_the_log_is_ours_alone(operated: Operated) -> None:
    logs = operated.api("/logs/filter", {"limit": 200, "logs": {"level": {"ge_": 20}}})
    assert len(logs) > 20
    assert {log["name"] for log in logs} <= {
        "prefect.flow_runs",
        "prefect.task_runs",
        "prefect.flow_runs.worker",
        "prefect.flow_runs.runner",
    }
    for noise in ("vllm", "HTTP Request", "httpx", "torch"):
        assert not [log["message"] for log in logs if noise in log["message"] and "Traceback" not in log["message"]]
