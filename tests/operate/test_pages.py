"""What a person sees: a finished round and a deployment's form on Prefect's pages, two rounds side by side in MLflow, the report.

The README's pictures are made here: PLUMBLINE_SCREENSHOTS=docs/screenshots make test ARGS=tests/operate/test_pages.py
"""

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tasks import summary
from tests.browser import screenshot
from tests.operate.services import Operated

pytestmark = pytest.mark.engine
PATIENCE = 40_000  # ms: the pages are single-page applications, and the machine may be busy


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1280, "height": 860})
    opened.set_default_timeout(PATIENCE)
    yield opened
    opened.close()


@pytest.fixture(scope="module", autouse=True)
def patient() -> None:
    expect.set_options(timeout=PATIENCE)


def scroll_to(page: Page, text: str) -> None:
    """Look further and further down until it is there: lists are fetched where one looks."""
    found, until = page.get_by_text(text, exact=True).first, time.monotonic() + PATIENCE / 1000
    page.mouse.move(700, 700)
    while not found.is_visible():
        assert time.monotonic() < until, f"{text} is not on the page:\n{page.locator('body').inner_text()}"
        page.mouse.wheel(0, 800)
        page.wait_for_timeout(200)


def test_a_finished_round_is_a_story_on_prefects_page(operated: Operated, page: Page) -> None:
    (found,) = operated.api("/flow_runs/filter", {"flow_runs": {"name": {"any_": ["round 2"]}}})
    page.goto(f"{operated.prefect}/runs/flow-run/{found['id']}")
    expect(page.get_by_text("Completed", exact=True).first).to_be_visible()
    expect(page.get_by_text("round 2: validate pairs:").first).to_be_visible()  # its log: ours alone
    screenshot(page, "prefect-round")
    page.locator("#artifacts").click()
    decision = (operated.run / "round-2" / "decision.json").read_text(encoding="utf-8")
    expect(page.get_by_text("demo-round-2-decision", exact=True).first).to_be_visible()
    for shown in ("demo-round-2-align", "demo-round-2-validate-pairs-gate"):
        scroll_to(page, shown)
    page.get_by_text("demo-round-2-decision", exact=True).first.click()
    expect(page.get_by_text(json.loads(decision)["reason"]).first).to_be_visible()


def test_a_gates_contracts_are_a_table_with_reasons_on_prefects_page(operated: Operated, page: Page) -> None:
    key = "demo-round-2-validate-pairs-gate"
    (gate,) = operated.api("/artifacts/latest/filter", {"artifacts": {"key": {"any_": [key]}}})
    page.goto(f"{operated.prefect}/artifacts/artifact/{gate['latest_id']}")
    expect(page.get_by_text("answers_differ").first).to_be_visible()
    (why,) = (row["why"] for row in json.loads(gate["data"]) if row["contract"] == "answers_differ")
    expect(page.get_by_text(why).first).to_be_visible()


def test_a_deployments_form_asks_for_each_parameter_by_its_type(operated: Operated, page: Page) -> None:
    page.goto(f"{operated.prefect}/deployments/deployment/{operated.deployment}/run")
    expect(page.get_by_text("How many rounds to add.")).to_be_visible()
    rounds = page.locator("input[type=number]").first
    expect(rounds).to_have_value("1")
    for label in ("config", "run_dir", "Learning rate (Optional)", "Smallest win rate (Optional)"):
        expect(page.get_by_text(label, exact=True).first).to_be_visible()
    expect(page.get_by_text("Instead of align.learning_rate.")).to_be_visible()
    screenshot(page, "prefect-form")
    rounds.fill("0")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("minimum").first).to_be_visible()
    assert page.url.endswith("/run")  # nothing was started


def test_two_rounds_stand_beside_each_other_in_mlflow(operated: Operated, page: Page) -> None:
    rounds = _children(operated)
    names = ("demo round 1", "demo round 2")
    chosen = "[%22" + "%22,%22".join(rounds[name]["run_id"] for name in names) + "%22]"
    where = f"runs={chosen}&experiments=[%22{rounds[names[0]]['experiment_id']}%22]"
    page.goto(f"{operated.mlflow}/#/compare-runs?{where}")
    expect(page.get_by_text("Comparing 2 Runs from 1 Experiment")).to_be_visible()
    page.get_by_role("button", name="Close").click()  # MLflow's assistant
    for name in names:
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    expect(page.get_by_role("row", name="align.objective.name apo_zero apo_zero")).to_be_visible()
    page.get_by_role("button", name="Metrics", exact=True).evaluate("e => e.scrollIntoView()")
    facts = [summary.manifest(operated.run / f"round-{k}" / "evaluate")["facts"] for k in (1, 2)]  # type: ignore[index]
    for known in facts:
        expect(page.get_by_text(f"{known['mean_tokens']:.2f}".rstrip("0"), exact=True).first).to_be_visible()
    metric = "%22embedded-1.strict-1.overall%22"
    page.goto(f"{operated.mlflow}/#/metric?{where}&metric={metric}&plot_metric_keys=[{metric}]")
    for number, known in enumerate(facts, 1):  # the round is the step
        expect(page.get_by_text(f"{known['metrics']['overall']['mean']} (step={number})").first).to_be_visible()


def test_a_runs_rounds_are_points_of_one_line_in_mlflows_charts(operated: Operated, page: Page) -> None:
    look_at_charts(page, operated.mlflow, _children(operated)["demo round 1"]["experiment_id"])


def look_at_charts(page: Page, mlflow: str, experiment: str) -> None:
    """The rounds of the experiment's one run beside six charts of what they differ in."""
    page.set_viewport_size({"width": 1280, "height": 1060})
    page.goto(f"{mlflow}/#/experiments/{experiment}/runs?compareRunsMode=CHART")
    page.get_by_role("button", name="Close").click()  # MLflow's assistant
    page.get_by_role("button", name="Toggle sidebar").click()
    page.get_by_placeholder("Search metric charts").fill("^embedded-1|^win_rate$|^answer_tokens$|^promoted$")
    expect(page.get_by_test_id("experiment-view-compare-runs-card")).to_have_count(6)
    page.get_by_role("row").filter(has=page.get_by_role("link", name="demo", exact=True)).get_by_role("button").first.click()
    for number in (0, 1, 2):
        expect(page.get_by_role("link", name=f"demo round {number}", exact=True)).to_be_visible()
    screenshot(page, "mlflow-rounds")


def test_the_report_of_a_real_run_shows_both_rounds(operated: Operated, page: Page) -> None:
    page.goto((operated.run / "report.html").as_uri())
    for title in ("Round 1", "Round 2", "Answers, model by model", "Is the difference more than chance?"):
        expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    assert page.locator("#answers article:not([hidden])").count() > 0
    assert page.locator("#pairs del").count() > 0 and page.locator("#pairs ins").count() > 0
    screenshot(page, "report")
    page.emulate_media(color_scheme="dark")
    page.locator("#answers").scroll_into_view_if_needed()
    page.evaluate("document.querySelector('#answers').scrollIntoView({behavior: 'instant'})")
    screenshot(page, "report-answers")


def _children(operated: Operated) -> dict[str, dict[str, Any]]:
    known = json.loads((Path(operated.run) / "tracking.json").read_text())["run_id"]
    with urllib.request.urlopen(f"{operated.mlflow}/api/2.0/mlflow/runs/get?run_id={known}", timeout=30) as reply:
        parent = json.load(reply)["run"]["info"]
    asked = {"experiment_ids": [parent["experiment_id"]], "filter": f"tags.`mlflow.parentRunId` = '{known}'"}
    request = urllib.request.Request(f"{operated.mlflow}/api/2.0/mlflow/runs/search", json.dumps(asked).encode())
    request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as reply:
        return {run["info"]["run_name"]: run["info"] for run in json.load(reply)["runs"]}
