"""What the teacher cost: nothing is counted twice, and nothing unknown passes for nothing."""

from pathlib import Path

from tasks.spending import spending, total, usage_of
from tests.tasks.run_folder import USED, make_run


def test_a_run_has_a_line_a_stage_a_round_and_in_all(tmp_path: Path) -> None:
    rows = spending(make_run(tmp_path / "run"))
    assert [place for place, _ in rows] == ["round-1/revise", "round 1", "round-2/revise", "round 2", "all"]
    assert rows[0][1] == rows[1][1] == USED
    assert rows[-1][1] == {"calls": 80, "cached": 20, "input_tokens": 6000, "output_tokens": 1200, "cost": 0.042}


def test_what_nobody_counted_is_not_nothing() -> None:
    uncounted = USED | {"input_tokens": None, "cost": None}
    assert total([USED, uncounted]) == USED | {"calls": 80, "cached": 20, "input_tokens": None, "output_tokens": 1200}
    assert total([uncounted])["cost"] is None


def test_a_stage_with_several_teachers_has_one_sum() -> None:
    assert usage_of({"teacher_0": USED, "teacher_1": USED, "pairs": 3}) == total([USED, USED])
    assert usage_of({"pairs": 3, "teacher": "a name"}) is None
    assert usage_of({"teacher": dict.fromkeys(USED, 0)}) is None
