"""A real schedule on real servers: each firing adds one round, none overtakes another, a failed one goes on where it stopped."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from data_contracts.store import open_dataset
from flows import deployments
from flows.scheduled import overtaken
from tasks.lineage import champions
from tests.operate.services import TINY, Operated

pytestmark = pytest.mark.engine


def test_a_schedule_that_fires_twice_adds_two_rounds(operated: Operated) -> None:
    completed = [run for run in operated.firings if run["state_type"] == "COMPLETED" and run["state_name"] == "Completed"]
    assert [run["name"] for run in completed] == ["demo: round 1", "demo: round 2"]
    assert all(run["auto_scheduled"] for run in completed)
    assert [run["state"]["message"].split(".")[0] for run in completed] == ["Round 1", "Round 2"]
    assert not (operated.run / "round-3").exists()


def test_a_firing_that_meets_another_does_nothing(operated: Operated) -> None:
    met = [run for run in operated.firings if run["state_type"] == "CANCELLED"]
    assert met
    assert all(run["run_count"] == 0 for run in met)  # it never ran


def test_each_round_takes_prompts_nobody_has_used(operated: Operated) -> None:
    taken = [open_dataset(operated.run / f"round-{k}" / "prompts").frame()["prompt_id"].tolist() for k in (1, 2)]
    assert [len(ids) for ids in taken] == [TINY["per_round"]] * 2
    assert not set(taken[0]) & set(taken[1])


def test_a_round_starts_from_the_champion(operated: Operated) -> None:
    champion = champions(operated.run, before_round=2)[-1]
    first = open_dataset(operated.run / "round-1" / "align")
    expected = first.facts["model_hash"] if champion == 1 else first.manifest["models"]["policy"]
    assert open_dataset(operated.run / "round-2" / "align").manifest["models"]["policy"] == expected


def test_a_retry_goes_on_where_it_stopped(operated: Operated) -> None:
    (retried,) = (run for run in operated.firings if run["id"] == operated.retried)
    assert retried["run_count"] == 2
    assert any("/align/" in path for path in operated.finished_before_retry)
    assert {p: Path(p).stat().st_mtime_ns for p in operated.finished_before_retry} == operated.finished_before_retry
    assert (operated.run / "round-1" / "decision.json").exists()


def test_a_firing_on_a_folder_that_somebody_works_on_does_nothing_and_says_so(operated: Operated) -> None:
    ended = operated.beside_somebody
    assert ended["state_name"] == "Skipped", ended["state"]
    assert "is working on" in ended["state"]["message"]
    assert not (operated.run / "round-3").exists()


def test_what_is_due_and_how_it_went_last_is_told(operated: Operated) -> None:
    due, went = deployments.told(operated.prefect)
    assert due == f"demo: paused on its page, into {operated.run}"
    assert operated.firings[-1]["state_name"] in went


def test_a_server_whose_worker_asks_all_day_fills_no_disk(operated: Operated) -> None:
    """Under SQLite it told each time of a lock, in a hundred lines."""
    log = (operated.run.parent / "services" / "prefect.log").read_text(errors="replace")
    assert "Check out the dashboard" in log  # it is the one
    assert "docket.dependencies" not in log


def test_a_firing_that_waited_for_an_earlier_one_does_nothing(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    assert overtaken(tmp_path, now) is None
    (tmp_path / "round-1").mkdir()
    (tmp_path / "round-1" / "decision.json").write_text("{}")
    assert "an earlier one still worked" in (overtaken(tmp_path, now - timedelta(seconds=5)) or "")
    assert overtaken(tmp_path, now + timedelta(seconds=5)) is None


def test_the_form_is_typed(operated: Operated) -> None:
    deployment = operated.api(f"/deployments/{operated.deployment}", method="GET")
    form = deployment["parameter_openapi_schema"]
    assert form["properties"]["rounds"] | {"description": ""} == {
        "title": "rounds", "type": "integer", "minimum": 1, "maximum": 100, "default": 1, "position": 2, "description": ""
    }  # fmt: skip
    assert all(form["properties"][name]["description"] for name in ("config", "run_dir", "rounds", "overrides"))
    assert {"learning_rate", "epochs", "temperature", "min_win_rate"} == form["definitions"]["Overrides"]["properties"].keys()
    assert deployment["global_concurrency_limit"]["limit"] == 1
    assert {"plumbline", "policy:demo", "clair", "apo_zero"} == set(deployment["tags"])
    bad = {"parameters": deployment["parameters"] | {"rounds": 0}}
    with pytest.raises(OSError, match=r"409|422"):
        operated.api(f"/deployments/{operated.deployment}/create_flow_run", bad)


def test_which_rounds_a_firing_took_on_is_written_down(operated: Operated) -> None:
    firings = json.loads((operated.run / "firings.json").read_text())
    assert firings[operated.retried] == 1
    assert sorted(firings.values())[:2] == [1, 2]
