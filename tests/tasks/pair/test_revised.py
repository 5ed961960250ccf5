"""Pairs of an answer and its revision: which is chosen, and nobody lost without being counted."""

from tests.tasks.pair.answers import PROMPT, made, revision, sides

ROWS = [revision(0, "wrong", "right"), revision(1, "fine", "fine"), revision(2, "x", None, "cut"), revision(3, " fine\n", "fine")]


def test_clair_prefers_the_revision_to_the_policys_own_answer() -> None:
    pairs, facts = made("clair", ROWS)
    assert facts == {"pairs": 1, "unchanged": 2, "failed": 1}
    assert pairs == [
        {
            "pair_id": "p0/0/clair",
            "prompt_id": "p0",
            "prompt": PROMPT,
            "prompt_ids": [1, 2],
            "chosen": "right",
            "rejected": "wrong",
            "chosen_ids": [4, 0, 9],
            "rejected_ids": [3, 0],
            "chosen_stopped": True,
            "rejected_stopped": False,
            "method": "clair",
            "margin": None,
            "reasoning": "why 0",
            "policy": "policyhash",
            "chosen_policy": "teacher",
            "on_policy": False,
            "round": 3,
        }
    ]


def test_a_policy_that_revises_itself_is_on_policy_on_both_sides() -> None:
    (pair,), _ = made("self_revision", [revision(0, "wrong", "right") | {"teacher": "policyhash"}])
    assert (pair["method"], pair["chosen"], pair["on_policy"]) == ("self_revision", "right", True)


def test_a_worsened_copy_is_the_rejected_side_with_its_own_tokens() -> None:
    (pair,), facts = made("worst_revision", ROWS)
    assert (pair["chosen"], pair["chosen_ids"], pair["chosen_stopped"], pair["chosen_policy"]) == (
        "wrong",
        [3, 0],
        False,
        "policyhash",
    )
    assert (pair["rejected"], pair["rejected_ids"], pair["rejected_stopped"], pair["policy"]) == (
        "right",
        [4, 0, 9],
        True,
        "teacher",
    )
    assert facts == {"pairs": 1, "unchanged": 2, "failed": 1}
    assert sides([pair]) == [("wrong", "right")]
