"""Lists: the best first, on one scale, and what nobody could rank is counted."""

import math

import pytest

from data_contracts.store import build
from tasks.lists import lists_of_pairs, lists_of_samples
from tests.pairs_dataset import full_rows, pairs_dataset
from tests.tasks.pair.answers import sample, verdict


def answers(tmp_path, count=3, texts=None):
    rows = [sample("p", i, text=None if texts is None else texts[i]) | {"token_ids": [i, 7]} for i in range(count)]
    return build(tmp_path / "samples", "samples", {}, lambda _: (rows, {}))


def judged(tmp_path, *verdicts):
    return build(tmp_path / "judge", "verdicts", {}, lambda _: (list(verdicts), {}))


def test_a_judge_that_compares_orders_by_the_share_of_wins(tmp_path):
    """1 beats 0 and 2, and 0 and 2 tie: shares of 1, 1/4 and 1/4."""
    verdicts = judged(tmp_path, verdict("p", 0, 1, "second"), verdict("p", 0, 2, "tie"), verdict("p", 1, 2, "first"))
    made = lists_of_samples(tmp_path / "lists", answers(tmp_path), verdicts, "generation", "best_of_n", "policyhash", 3)
    (row,) = made.records()
    assert row["answers"] == ["answer 1", "answer 0", "answer 2"] and row["scores"] == [1.0, 0.25, 0.25]
    assert row["answer_ids"] == [[1, 7], [0, 7], [2, 7]] and row["stopped"] == [False, True, False]
    assert row["wins"] == [[0.5, 1.0, 1.0], [0.0, 0.5, 0.5], [0.0, 0.5, 0.5]]
    assert row["on_policy"] and row["policy"] == "policyhash" and row["round"] == 3
    assert made.facts == {"lists": 1, "undecided": 0, "single": 0, "unjudged": 0} and row["method"] == "best_of_n"


def test_the_likelihood_judges_scores_become_mean_probabilities_of_a_token(tmp_path):
    """Two tokens each: e^(-1/2) is the square root of e^-1; P(i beats j) is the logistic of the difference of the sums."""
    sums = {0: -4.0, 1: -1.0, 2: -6.0}
    verdicts = [
        verdict("p", i, j, "first" if sums[i] > sums[j] else "second", (sums[i], sums[j])) for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    (row,) = lists_of_samples(
        tmp_path / "l", answers(tmp_path), judged(tmp_path, *verdicts), "likelihood", "best_of_n", "policyhash", 1
    ).records()
    assert row["scores"] == pytest.approx([math.exp(-0.5), math.exp(-2), math.exp(-3)])
    assert row["wins"][0][1] == pytest.approx(1 / (1 + math.exp(-3))) and row["wins"][2][1] == pytest.approx(
        1 / (1 + math.exp(2))
    )


def test_an_anchor_is_left_out_and_scored_against(tmp_path):
    verdicts = judged(tmp_path, verdict("p", 0, 1, "first"), verdict("p", 0, 2, "tie"), verdict("p", 1, 2, "first"))
    (row,) = lists_of_samples(
        tmp_path / "l", answers(tmp_path), verdicts, "generation", "best_of_n", "policyhash", 1, anchored=True
    ).records()
    assert row["answers"] == ["answer 1", "answer 0"] and row["scores"] == [1.0, 0.5] and row["wins"] == [[0.5, 0.0], [1.0, 0.5]]


def test_what_nobody_could_rank_is_counted_and_other_policies_answers_are_not_on_policy(tmp_path):
    ties = judged(tmp_path, *(verdict("p", i, j, "tie") for i, j in ((0, 1), (0, 2), (1, 2))))
    assert (
        lists_of_samples(tmp_path / "a", answers(tmp_path), ties, "generation", "best_of_n", "policyhash", 1).facts["undecided"]
        == 1
    )
    alone = tmp_path / "alone"
    assert (
        lists_of_samples(tmp_path / "b", answers(alone, 1), ties, "generation", "best_of_n", "policyhash", 1).facts["single"] == 1
    )
    decided = tmp_path / "decided"
    verdicts = judged(decided, verdict("p", 0, 1, "first"))
    (row,) = lists_of_samples(tmp_path / "c", answers(decided, 2), verdicts, "generation", "best_of_n", "another", 1).records()
    assert not row["on_policy"] and row["policy"] == "another"


def test_a_prompt_whose_verdicts_were_all_set_aside_is_left_out_and_one_that_lost_some_is_not(tmp_path):
    rows = [sample(prompt, i) for prompt in "pqr" for i in range(3)]
    samples = build(tmp_path / "samples", "samples", {}, lambda _: (rows, {}))
    left = judged(tmp_path, verdict("p", 0, 1, "first"), verdict("p", 0, 2, "first"), verdict("r", 0, 1, "tie"))
    made = lists_of_samples(tmp_path / "lists", samples, left, "generation", "rso", "policyhash", 1)
    (row,) = made.records()
    assert row["prompt_id"] == "p" and row["scores"] == [1.0, 0.25, 0.25] and row["wins"][1][2] == 0.5
    assert made.facts == {"lists": 1, "undecided": 1, "single": 0, "unjudged": 1}


def test_a_pair_is_a_list_of_two_in_its_own_order(tiny, tmp_path):
    rows = full_rows(tiny, 2)
    rows[0]["win_probability"], rows[1]["win_probability"] = 0.8, 0.3  # the judge would have it the other way round
    made = lists_of_pairs(tmp_path / "lists", pairs_dataset(tmp_path / "pairs", tiny, 2, rows=rows), tiny.hash, 1)
    for row, pair in zip(made.records(), rows, strict=True):
        assert row["answer_ids"] == [pair["chosen_ids"], pair["rejected_ids"]] and row["answers"][0] == pair["chosen"]
    assert [row["scores"] for row in made.records()] == [pytest.approx([0.8, 0.2]), pytest.approx([0.7, 0.3])]
    assert made.facts == {"lists": 2, "turned": 1}
