"""Scores, checklists, rankings and criteria are read where the judge said them plainly, and nowhere else."""

import pytest

from models.parse_judgement import parse_checklist, parse_criterion, parse_ranking, parse_score
from models.parse_verdict import parse_verdict, without_thoughts


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("Good.\n{final_score}: 7", 7),
        ("**{final_score}:** 10/10.", 10),
        ("{Final Score}: 8 out of 10", 8),
        ("{final_score}: 3\n{final_score}: 3", 3),
        ("{final_score}: 3\n{final_score}: 4", None),
        ("{final_score}: 7.5", None),
        ("{final_score}: 0", None),
        ("{final_score}: 11", None),
        ("{final_score}: 7 or 8", None),
        ("{final_score}: about 7", None),
        ("7", None),
        ("<think>{final_score}: 2</think>{final_score}: 9", 9),
        ("<think>{final_score}: 2", None),
    ],
)
def test_a_score_is_one_whole_number_from_1_to_10(reply, score):
    assert parse_score(reply) == score


@pytest.mark.parametrize(
    ("reply", "met"),
    [
        ("{point_1}: yes - it does\n{point_2}: No", [True, False]),
        ("{point_2}: no\n**{point_1}**: Yes.", [True, False]),
        ("{point_1}: yes\n{point_1}: yes\n{point_2}: no", [True, False]),
        ("{point_1}: yes\n{point_1}: no\n{point_2}: no", None),
        ("{point_1}: yes", None),
        ("{point_1}: yes\n{point_2}: partly", None),
        ("{point_1}: yes\n{point_2}: yes or no", None),
        ("{point_1}: yes\n{point_2}: yes/no", None),
        ("{point_1}: yes\n{point_2}: no\n{point_3}: no", None),
        ("{point_1}: yesterday\n{point_2}: no", None),
    ],
)
def test_a_checklist_needs_a_plain_answer_to_every_point(reply, met):
    assert parse_checklist(reply, 2) == met


@pytest.mark.parametrize(
    ("reply", "order"),
    [
        ("{final_ranking}: 2 > 1 > 3", ["2", "1", "3"]),
        ("{final_ranking}: **2>3 > 1**.", ["2", "3", "1"]),
        ("{final_ranking}: Answer 3 > Answer 1 > Answer 2", ["3", "1", "2"]),
        ("{final_ranking}: 2 > 1", None),
        ("{final_ranking}: 2 > 1 > 1", None),
        ("{final_ranking}: 2 > 1 = 3", None),
        ("{final_ranking}: 1 > 2 > 3\n{final_ranking}: 2 > 1 > 3", None),
        ("2 > 1 > 3", None),
    ],
)
def test_a_ranking_names_every_answer_once(reply, order):
    assert parse_ranking(reply, ["1", "2", "3"]) == order


def test_the_last_criterion_counts_and_is_bounded():
    assert parse_criterion("I think.\n{chosen_criterion}: Be exact.\nAnd brief.") == "Be exact.\nAnd brief."
    assert parse_criterion("The {chosen_criterion}: maybe.\n{chosen_criterion}: Be exact.") == "Be exact."
    assert parse_criterion("Be exact.") is None and parse_criterion("{chosen_criterion}:  \n ") is None
    assert len(parse_criterion("{chosen_criterion}: " + "x" * 5000) or "") == 1000


def test_thoughts_are_no_verdict():
    assert parse_verdict("<think>{preferred}: A</think>\n{preferred}: B") == "second"
    assert parse_verdict("{preferred}: A at first sight</think>\n{preferred}: B") == "second"
    assert parse_verdict("<think>{preferred}: A") == "unparsed"
    assert without_thoughts("I <think> so") == "I <think> so"
