"""Pairs that a judge decided: the winner with its own tokens, one pair a prompt, and what is undecided is counted."""

from collections import Counter

import pytest

from tests.tasks.pair.answers import made, sample, sides, verdict


def samples(*prompts: str, n: int = 3) -> list[dict]:  # type: ignore[type-arg]
    return [sample(p, i) for p in prompts or ("p",) for i in range(n)]


def scored(*scores: float) -> list[dict]:  # type: ignore[type-arg]
    """Verdicts on every pair of answers 0, 1, … with these scores."""
    found = []
    for i, one in enumerate(scores):
        for j, other in enumerate(scores[:i]):
            found.append(verdict("p", i, j, "tie" if one == other else "first" if one > other else "second", (one, other)))
    return found


def test_the_judges_winner_is_chosen_with_its_own_tokens() -> None:
    (pair,), _ = made("on_policy_judge", samples(), [verdict("p", 0, 1, "second", win_probability=0.1, uncertainty=0.3)])
    assert (pair["chosen"], pair["rejected"]) == ("answer 1", "answer 0")
    assert (pair["chosen_ids"], pair["rejected_ids"]) == ([1], [0])
    assert (pair["chosen_stopped"], pair["rejected_stopped"]) == (False, True)
    assert (pair["method"], pair["margin"], pair["on_policy"]) == ("on_policy_judge", None, True)
    assert (pair["win_probability"], pair["uncertainty"]) == (0.9, 0.3)


def test_the_widest_margin_makes_the_prompts_one_pair() -> None:
    verdicts = [
        verdict("p", 0, 1, "first", (-1.0, -2.0)),
        verdict("p", 0, 2, "second", (-9.0, -3.0)),
        verdict("p", 1, 2, "tie", (0.0, -50.0)),
    ]
    (pair,), _ = made("on_policy_judge", samples(), verdicts)
    assert (pair["chosen"], pair["rejected"], pair["margin"]) == ("answer 2", "answer 0", 6.0)
    assert (pair["chosen_score"], pair["rejected_score"]) == (-3.0, -9.0)


def test_without_scores_the_surest_verdict_counts_and_of_equals_the_first() -> None:
    hard = [verdict("p", 0, 1, "tie"), verdict("p", 0, 2, "first"), verdict("p", 1, 2, "second")]
    assert sides(made("on_policy_judge", samples(), hard)[0]) == [("answer 0", "answer 2")]
    soft = [verdict("p", 0, 1, "first", win_probability=0.6), verdict("p", 1, 2, "second", win_probability=0.05)]
    assert sides(made("on_policy_judge", samples(), soft)[0]) == [("answer 2", "answer 1")]


def test_prompts_without_a_decision_are_counted() -> None:
    pairs, facts = made("on_policy_judge", samples("p", "q", "r"), [verdict("p", 0, 1, "tie"), verdict("q", 0, 1, "first")])
    assert facts == {"pairs": 1, "undecided": 1, "single": 1}
    assert [r["prompt_id"] for r in pairs] == ["q"]


def test_nothing_to_pair_is_no_pairs_and_not_a_crash() -> None:
    assert made("on_policy_judge", samples(), [verdict("p", 0, 1, "tie")])[0] == []


def test_answers_of_others_keep_their_writers_and_the_beginning_models_answer_beside_the_pair() -> None:
    others = [sample("p", 0, "strong"), sample("p", 1, "weak"), sample("p", 2, "start")]
    config = {"name": "off_policy_judge", "sources": ["teacher", "previous", "initial"]}
    (pair,), _ = made(config, others, [verdict("p", 0, 1, "second")])
    assert (pair["chosen_policy"], pair["policy"], pair["on_policy"], pair["base_ids"]) == ("weak", "strong", False, [2])
    (pair,), _ = made(config, others, [verdict("p", 2, 1, "first")])
    assert pair["base_ids"] is None  # it is in the pair itself


def test_best_of_n_takes_the_best_and_the_worst() -> None:
    (pair,), _ = made("best_of_n", samples(n=4), scored(2.0, 9.0, 1.0, 5.0))
    assert (pair["chosen"], pair["rejected"], pair["margin"]) == ("answer 1", "answer 2", 8.0)


def test_best_of_n_keeps_what_the_judge_said_of_the_pair_itself() -> None:
    verdicts = [v | {"win_probability": 0.25 if v["outcome"] == "second" else 0.75} for v in scored(2.0, 9.0, 1.0)]
    (pair,), _ = made("best_of_n", samples(), verdicts)
    assert (pair["chosen"], pair["rejected"], pair["win_probability"]) == ("answer 1", "answer 2", 0.75)


def test_best_of_n_at_random_takes_any_but_the_best_and_those_as_good() -> None:
    config = {"name": "best_of_n", "choice": "max_random"}
    drawn = Counter(made(config, samples(n=4), scored(2.0, 9.0, 9.0, 5.0), seed=seed)[0][0]["rejected"] for seed in range(40))
    assert set(drawn) == {"answer 0", "answer 3"} and min(drawn.values()) > 5
    again = [sides(made(config, samples(n=4), scored(2.0, 9.0, 9.0, 5.0), seed=7)[0]) for _ in range(2)]
    assert again[0] == again[1]


def test_a_threshold_wants_one_answer_on_each_side_and_counts_the_prompts_that_have_none() -> None:
    config = {"name": "best_of_n", "choice": "threshold", "threshold": 5.0}
    pairs, facts = made(config, samples(n=4), scored(2.0, 5.0, 1.0, 4.0))
    assert sides(pairs) == [("answer 1", "answer 2")] and facts["only_good"] == facts["only_bad"] == 0
    assert made(config, samples(n=3), scored(2.0, 4.0, 1.0)) == ([], facts | {"pairs": 0, "only_bad": 1})
    assert made(config, samples(n=3), scored(7.0, 6.0, 9.0)) == ([], facts | {"pairs": 0, "only_good": 1})


def test_the_best_of_only_good_answers_or_the_worst_of_only_bad_ones_is_a_row_alone_where_it_is_asked_for() -> None:
    config = {"name": "best_of_n", "choice": "threshold", "threshold": 5.0}
    for scores, side, answer, score in (((7.0, 6.0, 9.0), "chosen", 2, 9.0), ((2.0, 4.0, 1.0), "rejected", 2, 1.0)):
        other, fact = ("rejected", "only_good") if side == "chosen" else ("chosen", "only_bad")
        (row,), facts = made(config, samples(n=3), scored(*scores), alone=("chosen", "rejected"))
        assert (row[side], row[f"{side}_ids"], row[f"{side}_stopped"]) == (f"answer {answer}", [answer], False)
        assert row[other] is row[f"{other}_ids"] is row[f"{other}_stopped"] is None
        assert (row[f"{side}_score"], row["margin"], row["on_policy"], row["prompt_id"]) == (score, None, True, "p")
        assert (row["chosen_policy"] is None, row["policy"] is None) == (side != "chosen", side == "chosen")
        assert (facts["pairs"], facts[fact], facts["one_sided"]) == (0, 1, 1)
        assert made(config, samples(n=3), scored(*scores), alone=(other,))[0] == []
    both = made(config, samples(n=3), scored(7.0, 4.0, 1.0), alone=("chosen", "rejected"))
    assert sides(both[0]) == [("answer 0", "answer 2")] and "one_sided" not in both[1]


def test_without_scores_the_share_of_won_comparisons_is_the_score() -> None:
    verdicts = [verdict("p", 0, 1, "first"), verdict("p", 0, 2, "tie"), verdict("p", 1, 2, "second", win_probability=0.25)]
    (pair,), _ = made("best_of_n", samples(), verdicts)
    assert (pair["chosen"], pair["chosen_score"], pair["rejected"], pair["rejected_score"]) == (
        "answer 0",
        0.75,
        "answer 1",
        0.125,
    )


def test_an_answer_that_a_scoring_judge_gave_no_score_is_left_out_and_never_scored_on_another_scale() -> None:
    config = {"name": "best_of_n", "choice": "threshold", "threshold": 5.0}
    verdicts = [
        verdict("p", 0, 1, "tie", (8.0, None)),
        verdict("p", 0, 2, "first", (8.0, 3.0)),
        verdict("p", 1, 2, "tie", (None, 3.0)),
    ]
    verdicts.append(verdict("q", 0, 1, "tie"))  # two equal answers, about which nobody was asked
    pairs, facts = made(config, samples("p", "q"), verdicts)
    assert sides(pairs) == [("answer 0", "answer 2")]
    assert (facts["undecided"], facts["only_bad"], facts["only_good"]) == (1, 0, 0)


def test_equal_scores_prefer_nobody() -> None:
    assert made("best_of_n", samples(), scored(3.0, 3.0, 3.0)) == ([], {"pairs": 0, "undecided": 1, "single": 0})


def test_rejection_sampling_pairs_what_it_accepts_two_and_two_the_better_first() -> None:
    config = {"name": "rso", "keep": 4, "temperature": 0.01}
    pairs, facts = made(config, samples(n=6), scored(0.0, 1.0, 2.0, 3.0, 4.0, 5.0))
    assert facts == {"pairs": 2, "undecided": 0, "single": 0, "too_few": 0}
    assert all(pair["chosen_score"] > pair["rejected_score"] for pair in pairs)
    # cold, so that the best four are accepted, the best first
    assert sides(pairs) == [("answer 5", "answer 4"), ("answer 3", "answer 2")]
    hot = made(config | {"temperature": 1e6}, samples(n=6), scored(0.0, 1.0, 2.0, 3.0, 4.0, 5.0))[0]
    assert sides(hot) != sides(pairs)
    assert len({pair["pair_id"] for pair in pairs}) == 2


def test_rejection_sampling_needs_more_answers_than_it_keeps() -> None:
    assert made({"name": "rso", "keep": 3}, samples(n=3), scored(1.0, 2.0, 3.0))[1]["too_few"] == 1


@pytest.mark.parametrize("method", ["best_of_n", "rso"])
def test_a_prompt_with_one_answer_left_is_counted(method: str) -> None:
    assert made(method, samples("q"), [])[1]["single"] == 1
