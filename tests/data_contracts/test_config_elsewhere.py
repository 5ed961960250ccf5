"""What other trainers call our keys: the names here exist, theirs are not ours, and the page says what the refusals say."""

import re
from pathlib import Path

from data_contracts.config import HumanPairsConfig, RoundsConfig
from data_contracts.config_elsewhere import ELSEWHERE, OBJECTIVES
from data_contracts.config_keys import keys_of, models_at
from data_contracts.objective_config import CONFIGS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "names.md"


def exists(key: str) -> bool:
    *groups, last = key.split(".")
    return last in keys_of(models_at([RoundsConfig, HumanPairsConfig], [(group, False) for group in groups]))


def test_every_name_here_is_a_key_or_says_that_there_is_none() -> None:
    here = {text for text in ELSEWHERE.values() if not text.startswith(("nothing: ", "--run-dir "))}
    assert [text for text in here if not exists(re.split("[ :,]", text)[0])] == []
    assert not exists("align.loss_type")  # the check sees what is not there


def test_no_name_of_theirs_is_one_of_ours_at_the_same_place() -> None:
    assert ELSEWHERE.keys() & set(keys_of([RoundsConfig, HumanPairsConfig])) == set()
    assert OBJECTIVES.keys() & CONFIGS.keys() == set()
    assert {re.split("[, ]", text)[0] for text in OBJECTIVES.values()} <= CONFIGS.keys()


def test_the_page_says_what_the_refusals_say() -> None:
    rows = re.findall(r"^\| (`.*) \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    assert len(rows) > 15
    for there, here in rows:
        told = [ELSEWHERE[name] for name in re.findall("`([^`]+)`", there)]
        assert all(any(key in text for key in (*re.findall("`([^`]+)`", here), "nothing")) for text in told), there
