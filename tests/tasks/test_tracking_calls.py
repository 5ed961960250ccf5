"""What the teacher was asked is in MLflow: its templates once each, and a few of its calls."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from data_contracts.store import Dataset, build
from models.journal import Journal, Reply, requests_of, sample_calls
from tasks.tracking_calls import CALLS, forget_calls, log_calls, log_prompts
from tasks.tracking_client import create_run, open_client, tracking_uri


@pytest.fixture
def run(tmp_path: Path, empty_store: Path) -> Path:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path


def asked(run: Path, stage: str, calls: int, template: str = "brief-1", place: str = "") -> Dataset:
    """A stage that paid for `calls` calls, those of one teacher of several with its `place` on the bill."""
    journal = Journal(run / "journal.db")
    requests = requests_of(
        "teacher", [[{"role": "user", "content": f"{stage} {i}"}] for i in range(calls)], {"temperature": 0}, 0
    )
    journal.store([(request, Reply(f"reply {i}", "stop")) for i, request in enumerate(requests)])
    assert len(journal.bill([request.key for request in requests], run / stage / place)) == calls
    journal.close()
    return build(run / stage, "revisions", {"template": template}, lambda _: ([], {}), models={"policy": "p"})


def test_a_handful_of_calls_become_traces_of_the_round(run: Path) -> None:
    client = open_client(tracking_uri(run))
    child = create_run(client, run, "demo", "round 1")
    stages = {"revise": asked(run, "revise", 40)}
    for _ in range(2):  # told again after an outage
        log_calls(client, tracking_uri(run), run, child, stages)
        experiment = client.get_run(child).info.experiment_id
        traces = client.search_traces([experiment])
        assert len(traces) == CALLS
        assert {trace.info.trace_metadata["mlflow.sourceRun"] for trace in traces} == {child}
        span = traces[0].data.spans[0]
        assert span.inputs["messages"][0]["content"].startswith("revise ")
        assert span.outputs["choices"][0]["message"]["content"].startswith("reply ")
        forget_calls(client, child)
        assert len(client.search_traces([experiment])) == 0


@pytest.mark.parametrize("place", ["", "0"])  # of a stage that asks a teacher beside others
def test_a_call_belongs_to_the_stage_that_paid_for_it(run: Path, place: str) -> None:
    client = open_client(tracking_uri(run))
    child = create_run(client, run, "demo", "round 1")
    stages = {
        "sample_others": asked(run, "sample_others", 2, place=place),
        "align": build(run / "align", "prompts", {}, lambda _: ([], {})),
        "judge": asked(run, "judge", 3),
        "judge_2": build(run / "judge_2", "prompts", {"k": 2}, lambda _: ([], {})),
    }
    log_calls(client, tracking_uri(run), run, child, stages)
    traces = client.search_traces([client.get_run(child).info.experiment_id])
    told = [(t.info.tags["mlflow.traceName"], t.data.spans[0].inputs["messages"][0]["content"].split()[0]) for t in traces]
    assert sorted(told) == [("judge", "judge")] * 3 + [("sample_others", "sample_others")] * 2


def test_a_journal_from_before_stages_were_known_tells_nothing(run: Path) -> None:
    stage = asked(run, "revise", 3)
    with sqlite3.connect(run / "journal.db") as file:
        file.execute("ALTER TABLE calls DROP COLUMN stage")
    assert sample_calls(run, stage.folder, 5) == []


def test_a_template_that_did_not_change_gets_no_new_version(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tasks.tracking_calls as tracking_calls

    client = open_client(tracking_uri(run))
    child = create_run(client, run, "demo", "round 1")
    stages = {"revise": asked(run, "revise", 1), "judge": asked(run, "judge", 1, "pairwise-1")}
    for _ in range(2):
        log_prompts(client, child, stages)
    assert client.get_prompt_version_by_alias("plumbline-brief-1", "revise").version == 1
    assert client.get_prompt_version_by_alias("plumbline-pairwise-1", "judge").version == 1
    linked = json.loads(client.get_run(child).data.tags["mlflow.linkedPrompts"])
    assert {p["name"] for p in linked} == {"plumbline-brief-1", "plumbline-pairwise-1"}
    monkeypatch.setattr(tracking_calls, "template_source", lambda name: "another text for {{ task }}")
    log_prompts(client, child, {"revise": stages["revise"]})
    changed = client.get_prompt_version_by_alias("plumbline-brief-1", "revise")
    assert (changed.version, changed.template) == (2, "another text for {{ task }}")
