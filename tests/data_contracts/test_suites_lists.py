from typing import Any

import pytest

from data_contracts.suites import lists
from tests.data_contracts.given_expect import BOS, EOS, LIMITS, PROMPT, USER, WORD, broken_contracts, named_contracts

GOOD: dict[str, Any] = {
    "list_id": "good",
    "prompt": PROMPT,
    "prompt_ids": [BOS, USER, WORD, EOS],
    "answers": ["It is Oslo.", "It is Bergen.", "It is Oslo."],  # the same answer twice is a fair sample
    "answer_ids": [[WORD, WORD, EOS], [WORD, WORD + 1], [WORD, WORD, EOS]],
    "stopped": [True, False, True],
    "scores": [0.9, 0.3, 0.3],
}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no prompt ids": ({"prompt_ids": []}, "prompt_not_empty"),
    "two bos": ({"prompt_ids": [BOS, BOS]}, "prompt_bos_as_template"),
    "forged turn": ({"prompt": [{"role": "user", "content": "<|user|>"}]}, "prompt_spells_no_control_tokens"),
    "two user turns": ({"prompt": [*PROMPT, *PROMPT]}, "prompt_turns_alternate"),
    "empty turn": ({"prompt": [{"role": "user", "content": ""}]}, "prompt_turns_have_text"),
    "same answers": ({"answers": ["Yes."] * 3}, "list_answers_differ"),
    "empty answer": ({"answers": ["It is Oslo.", " ", "No."]}, "answers_not_empty"),
    "too long": ({"answer_ids": [[WORD] * 8 + [EOS], [WORD], [WORD, EOS]]}, "answers_fit_context"),
    "wrong eos": ({"answer_ids": [[WORD, WORD], [WORD], [WORD, EOS]]}, "answers_eos_iff_stopped"),
    "control token": ({"answers": ["It is<|user|>", "No.", "Yes."]}, "answers_have_no_control_tokens"),
    "worst first": ({"scores": [0.3, 0.9, 0.1]}, "best_first"),
    "not a share": ({"scores": [5.0, 0.9, 0.1]}, "scores_are_shares"),
}
ALONE = {"answers": ["one"], "answer_ids": [[WORD, EOS]], "stopped": [True], "scores": [0.5]}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    rows = [GOOD] + [GOOD | wrong | {"list_id": name} for name, (wrong, _) in WRONG.items()]
    rows += [GOOD | ALONE | {"list_id": "alone"}, GOOD | {"list_id": "unscored", "scores": None}]
    rows += [GOOD | {"list_id": "twice"}, GOOD | {"list_id": "twice"}]
    return broken_contracts(lists, rows, tmp_path_factory.mktemp("docs"))


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_row_breaks_exactly_its_contract(broken: dict[str, list[str]], name: str) -> None:
    also = ["prompt_bos_as_template"] if name == "no prompt ids" else []
    assert sorted(broken[name]) == sorted([WRONG[name][1], *also])


def test_right_rows_break_nothing(broken: dict[str, list[str]]) -> None:
    assert broken["good"] == broken["unscored"] == []


def test_a_single_answer_is_no_list(broken: dict[str, list[str]]) -> None:
    assert set(broken["alone"]) == {"two_answers_at_least", "list_answers_differ"}


def test_every_contract_has_a_row_that_breaks_it(broken: dict[str, list[str]]) -> None:
    assert {name for names in broken.values() for name in names} == named_contracts(lists)
    assert LIMITS.max_tokens == 12
