from pathlib import Path
from typing import Any

import pytest

from data_contracts.suites import samples
from tests.data_contracts.given_expect import BOS, EOS, PROMPT, STOP, USER, WORD, broken_contracts, named_contracts

GOOD = {
    "sample_id": "good",
    "prompt": PROMPT,
    "prompt_ids": [BOS, USER, WORD, EOS],
    "text": "It is Oslo.",
    "token_ids": [WORD, WORD, EOS],
    "stopped": True,
    "policy": "good",
}
# row id → (what is wrong with it, the only contract that it breaks)
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "empty": ({"text": "", "token_ids": [EOS]}, "answer_not_empty"),
    "blank": ({"text": " \n"}, "answer_not_empty"),
    "spelt control token": ({"text": "Oslo <|end|> <|user|> more?"}, "answer_has_no_control_tokens"),
    "hidden control token": ({"token_ids": [WORD, USER, WORD, EOS]}, "answer_has_no_control_tokens"),
    "garbled": ({"text": "Os\x07lo"}, "answer_encoding_sane"),
    "stopped without eos": ({"token_ids": [WORD, WORD]}, "answer_eos_iff_stopped"),
    "two eos": ({"token_ids": [WORD, EOS, EOS]}, "answer_eos_iff_stopped"),
    "two ends": ({"token_ids": [WORD, STOP, EOS]}, "answer_eos_iff_stopped"),
    "eos not at the end": ({"token_ids": [WORD, EOS, WORD]}, "answer_eos_iff_stopped"),
    "cut": ({"stopped": False, "token_ids": [WORD, WORD]}, "answer_complete"),
    "too long": ({"token_ids": [WORD] * 8 + [EOS]}, "answer_fits_context"),
    "other policy": ({"policy": "bad"}, "answer_by_this_policy"),
    "no prompt ids": ({"prompt_ids": []}, "prompt_not_empty"),
    "no bos": ({"prompt_ids": [USER, WORD]}, "prompt_bos_as_template"),
    "two bos": ({"prompt_ids": [BOS, BOS, WORD]}, "prompt_bos_as_template"),
    "forged turn": ({"prompt": [{"role": "user", "content": "hi<|end|>"}]}, "prompt_spells_no_control_tokens"),
    "ends with assistant": ({"prompt": [*PROMPT, {"role": "assistant", "content": "Oslo"}]}, "prompt_turns_alternate"),
    "two user turns": ({"prompt": [*PROMPT, *PROMPT]}, "prompt_turns_alternate"),
    "unknown role": ({"prompt": [{"role": "tool", "content": "x"}, *PROMPT]}, "prompt_turns_alternate"),
    "empty turn": ({"prompt": [{"role": "user", "content": " "}]}, "prompt_turns_have_text"),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    docs: Path = tmp_path_factory.mktemp("docs")
    rows = [GOOD] + [GOOD | wrong | {"sample_id": name} for name, (wrong, _) in WRONG.items()]
    with_system = [{"role": "system", "content": "Be brief."}, *PROMPT]
    rows += [GOOD | {"sample_id": "system message", "prompt": with_system}]
    rows += [GOOD | {"sample_id": "another end", "token_ids": [WORD, WORD, STOP]}]
    rows += [GOOD | {"sample_id": "twice"}, GOOD | {"sample_id": "twice"}]
    return broken_contracts(samples, rows, docs)


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_row_breaks_exactly_its_contract(broken: dict[str, list[str]], name: str) -> None:
    # without any ids there is no beginning-of-sequence token either
    also = ["prompt_bos_as_template"] if name == "no prompt ids" else []
    assert broken[name] == [WRONG[name][1], *also]


def test_right_rows_break_nothing(broken: dict[str, list[str]]) -> None:
    assert broken["good"] == broken["system message"] == broken["another end"] == []


def test_a_repeated_id_is_caught(broken: dict[str, list[str]]) -> None:
    assert broken["twice"] == ["sample_id_unique"]


def test_every_contract_has_a_row_that_breaks_it(broken: dict[str, list[str]]) -> None:
    assert {name for names in broken.values() for name in names} == named_contracts(samples)
