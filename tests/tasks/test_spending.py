"""What the teacher cost: nothing is counted twice, and nothing unknown passes for nothing."""

from pathlib import Path

import pytest

from tasks.spending import spending, total, usage_of
from tests.tasks.run_folder import USED, make_run


def test_stages_rounds_and_the_run_have_their_sums(tmp_path: Path) -> None:
    found = spending(make_run(tmp_path / "run"))
    assert [group["label"] for group in found["groups"]] == ["start", "round 1", "round 2"]
    start, one, _ = found["groups"]
    assert start["usage"] is None and one["usage"] == USED
    assert {stage["stage"]: stage["usage"] for stage in one["stages"] if stage["usage"]} == {"revise": USED}
    assert found["usage"] == {"calls": 80, "cached": 20, "input_tokens": 6000, "output_tokens": 1200, "cost": 0.042}
    each = [stage["seconds"] for group in found["groups"] for stage in group["stages"]]
    assert 0 < found["seconds"] == pytest.approx(sum(each))
    assert max(stage["share"] for group in found["groups"] for stage in group["stages"]) == 100


def test_what_nobody_counted_is_not_nothing() -> None:
    uncounted = USED | {"input_tokens": None, "cost": None}
    assert total([USED, uncounted]) == USED | {"calls": 80, "cached": 20, "input_tokens": None, "output_tokens": 1200}
    assert total([uncounted])["cost"] is None


def test_a_stage_with_several_teachers_has_one_sum() -> None:
    assert usage_of({"teacher_0": USED, "teacher_1": USED, "pairs": 3}) == total([USED, USED])
    assert usage_of({"pairs": 3, "teacher": "a name"}) is None
    assert usage_of({"teacher": dict.fromkeys(USED, 0)}) is None
