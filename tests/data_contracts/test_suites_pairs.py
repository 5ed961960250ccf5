from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_contracts.contrast import summarise
from data_contracts.suites import pairs
from tests.data_contracts.given_expect import BOS, EOS, LIMITS, PROMPT, USER, WORD, broken_contracts, named_contracts

GOOD: dict[str, Any] = {
    "pair_id": "good",
    "prompt": PROMPT,
    "prompt_ids": [BOS, USER, WORD, EOS],
    "chosen": "It is Oslo.",
    "rejected": "It is Bergen.",
    "chosen_ids": [WORD, WORD, EOS],
    "rejected_ids": [WORD, WORD + 1],
    "chosen_stopped": True,
    "rejected_stopped": False,
}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no prompt ids": ({"prompt_ids": []}, "prompt_not_empty"),
    "two bos": ({"prompt_ids": [BOS, BOS]}, "prompt_bos_as_template"),
    "forged turn": ({"prompt": [{"role": "user", "content": "<|user|>"}]}, "prompt_spells_no_control_tokens"),
    "two user turns": ({"prompt": [*PROMPT, *PROMPT]}, "prompt_turns_alternate"),
    "empty turn": ({"prompt": [{"role": "user", "content": ""}]}, "prompt_turns_have_text"),
    "garbled chosen": ({"chosen": "It is \ufffdslo."}, "chosen_encoding_sane"),
    "garbled rejected": ({"rejected": "It is \ufffdergen."}, "rejected_encoding_sane"),
    "same answers": ({"chosen": "It  IS Oslo.", "rejected": "it is oslo.\n"}, "answers_differ"),
}
for _side, _ids in (("chosen", [WORD, WORD]), ("rejected", [WORD, WORD, EOS])):
    WRONG |= {
        f"empty {_side}": ({_side: ""}, f"{_side}_not_empty"),
        f"too long {_side}": ({f"{_side}_ids": [WORD] * 9, f"{_side}_stopped": False}, f"{_side}_fits_context"),
        f"wrong eos {_side}": ({f"{_side}_ids": _ids}, f"{_side}_eos_iff_stopped"),
        f"control token {_side}": ({_side: "Oslo<|user|>"}, f"{_side}_has_no_control_tokens"),
    }
ALONE = {side: dict.fromkeys((side, f"{side}_ids", f"{side}_stopped")) for side in ("chosen", "rejected")}
WRONG["no answer"] = (ALONE["chosen"] | ALONE["rejected"], "pair_has_an_answer")
COPY = {"chosen": "It is Lima.", "rejected": "It is Cusco."}
CLASH = {"chosen": "It is Rome.", "rejected": "It is Milan."}
SWAPPED = {"chosen": "It is Milan.", "rejected": "It is Rome."}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    # each row asks something else, so that only the rows meant to repeat do
    rows = [GOOD] + [
        GOOD | {"chosen": f"{name} yes", "rejected": f"{name} no"} | wrong | {"pair_id": name}
        for name, (wrong, _) in WRONG.items()
    ]
    rows += [GOOD | COPY | {"pair_id": "first"}, GOOD | COPY | {"pair_id": "copy"}, GOOD | COPY | {"pair_id": "copy again"}]
    rows += [GOOD | CLASH | {"pair_id": "clash"}, GOOD | SWAPPED | {"pair_id": "swapped"}]
    elsewhere = [{"role": "user", "content": "And elsewhere?"}]
    rows += [GOOD | SWAPPED | {"pair_id": "swapped elsewhere", "prompt": elsewhere}]
    lengths = {"prompt_ids": [BOS], "chosen_ids": [WORD], "chosen_stopped": False, "rejected_ids": [WORD] * 11}
    rows += [GOOD | lengths | {"pair_id": "eleven times", "chosen": "It is.", "rejected": "It is not."}]
    words = " ".join(f"w{i}" for i in range(60))
    rows += [GOOD | {"pair_id": name, "chosen": words, "rejected": f"not {name}"} for name in ("near", "nearly")]
    rows += [GOOD | {"pair_id": "twice", "chosen": "one"}, GOOD | {"pair_id": "twice", "chosen": "two"}]
    return broken_contracts(pairs, rows, tmp_path_factory.mktemp("docs"))


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Each row that is wrong in one side, with that side alone and with the other one alone; and some right rows."""
    rows = []
    for name, (wrong, _) in WRONG.items():
        for side, other in (("chosen", "rejected"), ("rejected", "chosen")):
            texts = {"chosen": f"{name} yes", "rejected": f"{name} no"}
            texts["prompt"] = [{"role": "user", "content": f"{name} {side}?"}]
            rows.append(GOOD | texts | wrong | ALONE[other] | {"pair_id": f"{name} / {side}"})
    rows += [GOOD | ALONE["rejected"] | {"pair_id": name, "chosen": text} for name, text in (("good", "A."), ("again", "A."))]
    rows += [GOOD | ALONE["chosen"] | {"pair_id": "bad", "rejected": "B."}]
    clash = {"chosen": "C.", "rejected": "C."}
    rows += [GOOD | clash | ALONE[side] | {"pair_id": f"clash {side}"} for side in ("chosen", "rejected")]
    return broken_contracts(pairs, rows, tmp_path_factory.mktemp("docs"))


@pytest.mark.parametrize("name", WRONG)
def test_a_side_alone_keeps_its_own_contracts_and_breaks_none_that_needs_both(lone: dict[str, list[str]], name: str) -> None:
    contract = WRONG[name][1]
    also = ["prompt_bos_as_template"] if name == "no prompt ids" else []
    for side, other in (("chosen", "rejected"), ("rejected", "chosen")):
        is_elsewhere = contract.startswith(other) or contract == "answers_differ"
        assert lone[f"{name} / {side}"] == ([] if is_elsewhere else [contract, *also])


def test_sides_alone_are_repeated_and_contradicted_as_pairs_are(lone: dict[str, list[str]]) -> None:
    assert lone["good"] == lone["bad"] == [] and lone["again"] == ["pair_not_repeated"]
    assert lone["clash chosen"] == lone["clash rejected"] == ["pair_not_contradicted"]


def test_what_is_said_of_both_sides_together_is_said_of_whole_pairs() -> None:
    whole = [GOOD | {"pair_id": str(i), "chosen_ids": [5, 5], "rejected_ids": [5]} for i in range(2)]
    lone = [GOOD | ALONE["chosen"] | {"pair_id": "alone", "rejected_ids": [5] * 9}]
    found = pairs.derive(pd.DataFrame(whole + lone), LIMITS)
    assert found["log_length_ratio"].mean() == pytest.approx(np.log(2)) and found["chosen_longer"].mean() == 1
    assert set(found.columns[found.isna().any()]) <= set(pairs.nullable(found))
    assert not set(pairs.nullable(found)) & {"prompt_tokens", "in_evaluation", "rows_with_this_id"}


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_row_breaks_exactly_its_contract(broken: dict[str, list[str]], name: str) -> None:
    also = ["prompt_bos_as_template"] if name == "no prompt ids" else []
    assert broken[name] == [WRONG[name][1], *also]


def test_right_rows_break_nothing(broken: dict[str, list[str]]) -> None:
    assert broken["good"] == broken["swapped elsewhere"] == []


def test_of_repeated_pairs_the_first_stays(broken: dict[str, list[str]]) -> None:
    assert [broken[name] for name in ("first", "copy", "copy again")] == [[], ["pair_not_repeated"], ["pair_not_repeated"]]


def test_lengths_far_apart_and_near_copies_are_said(broken: dict[str, list[str]]) -> None:
    assert broken["eleven times"] == ["length_ratio_within"]
    assert [broken[name] for name in ("near", "nearly")] == [[], ["pair_not_nearly_repeated"]]


def test_a_contradiction_loses_both_rows(broken: dict[str, list[str]]) -> None:
    assert broken["clash"] == broken["swapped"] == ["pair_not_contradicted"]


def test_every_contract_has_a_row_that_breaks_it(broken: dict[str, list[str]]) -> None:
    assert {name for names in broken.values() for name in names} == named_contracts(pairs)


def test_contrast_by_hand() -> None:
    """ "kitten" → "sitting" is 3 edits; {1, 2, 3} and {2, 3, 4} share 2 of 4 ids; 4 tokens against 2 is a ratio of 2."""
    row = GOOD | {"chosen": "kitten", "rejected": "sitting", "chosen_ids": [1, 2, 3, 3], "rejected_ids": [2, 3, 4]}
    one = summarise(pairs.derive(pd.DataFrame([row]), LIMITS))
    assert one["character_edits"] == 3
    assert one["token_jaccard"] == 0.5
    assert one["length_ratio"] == pytest.approx(4 / 3)
    assert one["chosen_longer"] == 1
    assert one["near_identical"] == 0


def test_length_ratio_of_opposite_rows_is_one() -> None:
    rows = [GOOD | {"chosen_ids": [5] * 4, "rejected_ids": [5]}, GOOD | {"chosen_ids": [5], "rejected_ids": [5] * 4}]
    both = summarise(pairs.derive(pd.DataFrame(rows), LIMITS))
    assert both["length_ratio"] == pytest.approx(1)
    assert both["chosen_longer"] == 0.5
