"""The second view: only pairs on which both judges agree go on, and the others are kept aside."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_contracts.config_judge import JudgeConfig
from models.checkpoint import Checkpoint
from models.teacher import Teacher
from tasks.second_view import second_view
from tests.pairs_dataset import pair_rows, pairs_dataset

VIEW = JudgeConfig(kind="likelihood")


def test_agreed_pairs_go_on_with_the_second_views_scores_and_the_others_are_kept(tmp_path: Path, tiny: Checkpoint) -> None:
    rows = [row | {"chosen": chosen} for row, chosen in zip(pair_rows(tiny, 3), ("good", "bad", "even"), strict=True)]
    rows = [row | {"rejected": "plain", "chosen_score": None} for row in rows]
    rows.append(rows[0] | {"pair_id": "scored", "chosen_score": 7.0, "rejected_score": 1.0, "margin": 6.0})
    score = {"good": 2.0, "bad": 0.5, "even": 1.0, "plain": 1.0}
    teacher = Teacher("judge", lambda *_: [], lambda conversations, answers: [score[a] for a in answers])
    made = second_view(tmp_path / "view", pairs_dataset(tmp_path / "pairs", tiny, 4, rows=rows), VIEW, teacher, 0)
    assert [(r["chosen"], r["chosen_score"], r["rejected_score"], r["margin"]) for r in made.records()] == [
        ("good", 2.0, 1.0, 1.0),
        ("good", 2.0, 1.0, 1.0),  # the first view scored this one alone, on another scale
    ]
    assert {name: made.facts[name] for name in ("agreed", "disagreed", "undecided")} == {
        "agreed": 2,
        "disagreed": 1,
        "undecided": 1,
    }
    aside = pq.read_table(made.folder / "disagreed.parquet").to_pylist()
    assert [row["chosen"] for row in aside] == ["bad", "even"]


def test_a_row_of_one_side_is_not_asked_about_and_goes_on(tmp_path: Path, tiny: Checkpoint) -> None:
    rows = pair_rows(tiny, 3)
    rows[1] |= {"rejected": None, "rejected_ids": None, "rejected_stopped": None}
    asked: list[str] = []

    def weigh(conversations: object, answers: list[str]) -> list[float]:
        asked.extend(answers)
        return [0.0] * len(answers)

    pairs = pairs_dataset(tmp_path / "pairs", tiny, 3, rows=rows)
    made = second_view(tmp_path / "view", pairs, VIEW, Teacher("judge", lambda *_: [], weigh), 0)
    assert [row["pair_id"] for row in made.records()] == ["p1"]
    assert sorted(asked) == sorted(rows[i][side] for i in (0, 2) for side in ("chosen", "rejected"))
    assert (made.facts["one_sided"], made.facts["undecided"]) == (1, 2)


def test_the_first_views_scores_stay_where_all_pairs_have_some(tmp_path: Path, tiny: Checkpoint) -> None:
    rows = [row | {"chosen_score": 7.0, "rejected_score": 1.0, "margin": 6.0, "chosen": "good"} for row in pair_rows(tiny, 2)]
    teacher = Teacher("judge", lambda *_: [], lambda conversations, answers: [float(a == "good") for a in answers])
    made = second_view(tmp_path / "view", pairs_dataset(tmp_path / "pairs", tiny, 2, rows=rows), VIEW, teacher, 0)
    assert [(r["chosen_score"], r["margin"], r["win_probability"]) for r in made.records()] == [(7.0, 6.0, 1.0)] * 2


@pytest.mark.parametrize("judge_says", [0.0, 1.0])
def test_a_second_view_that_never_decides_lets_nothing_through(tmp_path: Path, tiny: Checkpoint, judge_says: float) -> None:
    teacher = Teacher("judge", lambda *_: [], lambda conversations, answers: [judge_says for _ in answers])
    assert second_view(tmp_path / "view", pairs_dataset(tmp_path / "pairs", tiny, 3), VIEW, teacher, 0).rows == 0
