"""Pairs whose order is known: the stronger model's answer, or what a file says."""

from typing import Any

from tests.tasks.pair.answers import PROMPT, made, sample, sides


def test_the_stronger_models_own_answer_is_preferred_to_the_policys() -> None:
    others = [sample("p", 7, "teacher"), sample("q", 0, "teacher", " answer 0 "), sample("r", 5, "teacher")]
    pairs, facts = made("stronger_preferred", [sample("p", 0), sample("q", 0), sample("s", 0)], others)
    assert sides(pairs) == [("answer 7", "answer 0")]
    assert (pairs[0]["chosen_policy"], pairs[0]["policy"], pairs[0]["on_policy"]) == ("teacher", "policyhash", False)
    assert facts == {"pairs": 1, "unchanged": 1, "single": 2}


def test_delta_prefers_the_first_writer_to_the_second() -> None:
    rows = [sample("p", 1, "weaker"), sample("p", 0, "weak"), sample("q", 0, "weak")]
    pairs, facts = made({"name": "delta", "stronger": "initial", "weaker": "previous"}, rows)
    assert sides(pairs) == [("answer 0", "answer 1")] and facts["single"] == 1
    assert (pairs[0]["chosen_policy"], pairs[0]["policy"]) == ("weak", "weaker")


def test_the_answer_of_a_model_that_answered_alone_is_its_side_where_that_is_asked_for() -> None:
    rows = [sample("p", 0, "weak"), sample("p", 1, "weaker"), sample("q", 0, "weak"), sample("r", 1, "weaker")]
    config = {"name": "delta", "stronger": "initial", "weaker": "previous"}
    pairs, facts = made(config, rows, alone=("chosen", "rejected"))
    assert sides(pairs) == [("answer 0", "answer 1"), ("answer 0", None), (None, "answer 1")]
    assert facts == {"pairs": 1, "unchanged": 0, "single": 2, "one_sided": 2}
    assert [(pair["chosen_policy"], pair["policy"]) for pair in pairs[1:]] == [("weak", None), (None, "weaker")]
    assert sides(made(config, rows, alone=("chosen",))[0]) == [("answer 0", "answer 1"), ("answer 0", None)]
    alone, _ = made("stronger_preferred", [sample("s", 0)], [sample("t", 5, "teacher")], alone=("rejected",))
    assert sides(alone) == [(None, "answer 0")] and alone[0]["on_policy"]


def recorded(i: int, chance: float | None) -> dict[str, Any]:
    return {
        "pair_id": str(i),
        "prompt_id": str(i),
        "prompt": PROMPT,
        "prompt_ids": [1],
        "chosen": "a",
        "rejected": "b",
        "chosen_ids": [1],
        "rejected_ids": [2],
        "chosen_stopped": True,
        "rejected_stopped": False,
        "method": "recorded",
        "chosen_policy": "A",
        "policy": "B",
        "win_probability": chance,
    }


def test_a_recorded_pair_is_turned_round_where_its_probability_says_so() -> None:
    pairs, facts = made("recorded", [recorded(0, None), recorded(1, 0.75), recorded(2, 0.25), recorded(3, 0.5)])
    assert sides(pairs) == [("a", "b"), ("a", "b"), ("b", "a")]
    turned = pairs[2]
    assert (turned["chosen_ids"], turned["rejected_ids"], turned["chosen_policy"], turned["policy"]) == ([2], [1], "B", "A")
    assert (turned["chosen_stopped"], turned["rejected_stopped"], turned["win_probability"]) == (False, True, 0.75)
    assert facts == {"pairs": 3, "turned": 1, "undecided": 1} and {pair["round"] for pair in pairs} == {3}
