"""What the teacher cost: nothing is counted twice, and nothing unknown passes for nothing."""

from pathlib import Path

import pytest
import yaml

from data_contracts.config_judge import JudgeConfig
from data_contracts.config_teacher import Price
from data_contracts.store import build, sharing
from models.journal import Journal, Reply
from models.teacher import Teacher, journaled
from tasks.report import write_report
from tasks.spending import own_facts, spending, total, usage_of
from tasks.tracking import round_metrics
from tasks.win_rate import win_rate
from tests.tasks.run_folder import CONFIG, USED, answers, make_run


def test_stages_rounds_and_the_run_have_their_sums(tmp_path: Path) -> None:
    found = spending(make_run(tmp_path / "run"))
    assert [group["label"] for group in found["groups"]] == ["start", "round 1", "round 2"]
    start, one, _ = found["groups"]
    assert start["usage"] is None and one["usage"] == USED
    assert {stage["stage"]: stage["usage"] for stage in one["stages"] if stage["usage"]} == {"revise": USED}
    assert found["usage"] == {"calls": 80, "cached": 20, "input_tokens": 6000, "output_tokens": 1200, "cost": 0.042}
    each = [stage["seconds"] for group in found["groups"] for stage in group["stages"]]
    assert 0 < found["seconds"] == pytest.approx(sum(each))
    assert max(stage["share"] for group in found["groups"] for stage in group["stages"]) == pytest.approx(100)


def test_what_nobody_counted_is_not_nothing() -> None:
    uncounted = USED | {"input_tokens": None, "cost": None}
    assert total([USED, uncounted]) == USED | {"calls": 80, "cached": 20, "input_tokens": None, "output_tokens": 1200}
    assert total([uncounted])["cost"] is None


def test_a_stage_with_several_teachers_has_one_sum() -> None:
    assert usage_of({"teacher_0": USED, "teacher_1": USED, "pairs": 3}) == total([USED, USED])
    assert usage_of({"pairs": 3, "teacher": "a name"}) is None
    assert usage_of({"teacher": dict.fromkeys(USED, 0)}) is None


def test_a_call_that_stages_of_a_run_share_is_on_one_bill(tmp_path: Path) -> None:
    """In round 1 the previous model is the start, so both win rates ask the judge the same; the second is free."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(
        yaml.safe_dump(CONFIG | {"rounds": 1, "win_rate": {"against": ["start"]}, "evaluate": {"benchmark": "embedded-1"}})
    )
    start, new = answers(run / "round-0" / "evaluate", 0), answers(run / "round-1" / "evaluate", 1)
    journal = Journal(tmp_path / "journal.db", "this run", Price(input=10.0, output=30.0), run)

    def ask(missing, keep, _):
        keep((request, Reply("{preferred}: A", "stop", 100, 4)) for request in missing)

    teacher = Teacher("judge", journaled("judge", journal, ask), bill=journal.bill)
    stages = {
        place: win_rate(run / "round-1" / place, new, start, JudgeConfig(), teacher, 0)
        for place in ("win_rate", "win_rate_start")
    }
    paid, shared = (data.facts["teacher"] for data in stages.values())
    calls = paid["calls"]
    assert calls == shared["calls"] == shared["cached"] == journal.count() > 0 and paid["cached"] == 0
    assert (shared["input_tokens"], shared["output_tokens"], shared["cost"]) == (0, 0, 0)
    tokens, money = journal.spent()
    for sums in (spending(run)["usage"], spending(run)["groups"][1]["usage"]):
        assert sums["input_tokens"] + sums["output_tokens"] == tokens and sums["cost"] == pytest.approx(money)
        assert (sums["calls"], sums["cached"]) == (2 * calls, calls)
    metrics = round_metrics(stages)
    assert metrics["teacher/cost"] == pytest.approx(money) == metrics["win_rate/teacher.cost"]
    assert metrics["win_rate_start/teacher.cost"] == 0 and metrics["win_rate_start/teacher.cached"] == calls
    page = write_report(run).read_text(encoding="utf-8")
    section = page[page.index('id="cost-title"') :]
    assert section.count(f"{money:.4f}") == 3  # the stage that paid, the round and the run
    assert f"<td>{calls}</td><td>{calls}</td><td>0</td><td>0</td><td>0.0000</td>" in section


def test_cells_of_a_sweep_that_share_a_dataset_pay_for_it_once(tmp_path: Path) -> None:
    made = []
    with sharing(tmp_path / "shared"):
        for cell in ("first", "second"):
            made.append(build(tmp_path / cell / "revise", "revisions", {}, lambda _: ([], {"parsed": 40, "teacher": USED})))
    first, second = (round_metrics({"revise": data}) for data in made)
    assert (first["teacher/cost"], second["teacher/cost"]) == (USED["cost"], 0)
    assert second["teacher/calls"] == second["teacher/cached"] == USED["calls"] and second["revise/teacher.input_tokens"] == 0
    assert second["revise/parsed"] == first["revise/parsed"] == 40 and made[0].facts == made[1].facts
    assert usage_of(own_facts(made[0].manifest)) == USED
