"""Severities and bounds that a user sets, and the contracts that look at all rows together."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from data_contracts.config_validate import ContractConfig, ValidateConfig
from data_contracts.errors import PlumblineError
from data_contracts.gate import gate
from data_contracts.suites import catalogue, check_settings, pairs, row_contracts, verdicts, whole_contracts
from data_contracts.suites.contract import Contract, configured, per_row
from data_contracts.suites.measures import other_language, surface_accuracy
from data_contracts.suites.near_copies import nearly_repeats
from tests.data_contracts.given_expect import LIMITS

ROW = per_row("small", "It must be small.", "a", high=9)


def settings(**contracts: dict[str, Any]) -> ValidateConfig:
    return ValidateConfig(contracts={name: ContractConfig(**setting) for name, setting in contracts.items()})


def broken_by(contract: Contract, docs: Path) -> list[list[str]]:
    return gate(pd.DataFrame({"a": [1, 100]}), ["x", "y"], [contract], docs, "test", "given").broken


def test_a_contract_that_only_warns_sets_no_row_aside_and_names_it_all_the_same(tmp_path: Path) -> None:
    (warn,) = configured([ROW], settings(small={"severity": "warn"}).contracts)
    result = gate(pd.DataFrame({"a": [1, 100]}), ["x", "y"], [warn], tmp_path, "test", "given")
    assert result.broken == [[], []]
    assert result.contracts[0].rows == [1]
    assert broken_by(ROW, tmp_path) == [[], ["small"]]


def test_bounds_and_off_are_the_users_to_set(tmp_path: Path) -> None:
    (wide,) = configured([ROW], settings(small={"high": 100.0}).contracts)
    assert broken_by(wide, tmp_path) == [[], []]
    assert configured([ROW], settings(small={"severity": "off"}).contracts) == []
    assert configured([ROW], settings(small={"severity": yaml.safe_load("off")}).contracts) == []  # which YAML reads as False


@pytest.mark.parametrize(
    ("name", "setting", "said"),
    [
        ("answers_difer", {"severity": "warn"}, "did you mean answers_differ"),
        ("judge_consistent", {"severity": "quarantine"}, "all rows together"),
        ("enough_rows", {"low": 3.0}, "validate.min_rows"),
        ("similarity_within", {"severity": "quarantine"}, "no bound of its own"),
        ("similarity_within", {"severity": "warn", "low": 0.9, "high": 0.1}, "no row could pass"),
    ],
)
def test_a_setting_that_no_run_could_follow_is_one_sentence(name: str, setting: dict[str, Any], said: str) -> None:
    with pytest.raises(PlumblineError, match=said):
        check_settings(settings(**{name: setting}))


def test_every_contract_has_a_name_of_its_own_and_a_reason() -> None:
    for contracts in catalogue().values():
        names = [contract.name for contract in contracts]
        assert len(set(names)) == len(names)
        assert all(contract.why.endswith(".") for contract in contracts)
    check_settings(ValidateConfig())


def test_similarity_bounds_take_effect_where_they_are_set() -> None:
    names = {c.name for c in row_contracts("pairs", LIMITS, settings(similarity_within={"severity": "quarantine", "low": 0.2}))}
    assert "similarity_within" in names
    assert "similarity_within" not in {c.name for c in row_contracts("pairs", LIMITS, ValidateConfig())}


def test_what_could_not_be_measured_is_not_judged() -> None:
    def names(measured: set[str]) -> set[str]:
        return {c.name for c in whole_contracts("pairs", LIMITS, ValidateConfig(), 10, measured)}

    assert names(set()) == {"enough_rows", "quarantine_small"}
    assert names({"surface_accuracy"}) == {"enough_rows", "quarantine_small", "not_trivially_separable"}


TEXT = "The river rises in the hills above the town and runs for forty miles to the sea past two old mills and a weir"


def test_near_copies_are_told_and_the_first_of_each_cluster_is_not() -> None:
    other = "Bread needs flour and water and salt and time more than anything else and an oven that is hot enough to bake it well"
    texts = [TEXT, other, TEXT.replace("weir", "dam"), TEXT.upper(), "too short", "too short"]
    assert nearly_repeats(texts).tolist() == [0, 0, 1, 1, 0, 0]


def answers(count: int, chosen: str, rejected: str) -> pd.DataFrame:
    rows = [
        {
            "prompt_id": f"p{i}",
            "prompt": [{"role": "user", "content": TEXT}],
            "chosen": f"{chosen} {i}",
            "rejected": f"{rejected} {i}",
        }
        for i in range(count)
    ]
    return pd.DataFrame(rows)


def test_pairs_that_a_phrase_gives_away_are_separable_and_others_are_not() -> None:
    given_away = surface_accuracy(answers(100, "Certainly! Here you are:", "no idea"))
    alike = answers(100, "the answer is", "the answer is")
    alike["rejected"] = alike["chosen"].sample(frac=1, random_state=0).tolist()
    fair = surface_accuracy(alike)
    assert given_away is not None and given_away > 0.95
    assert fair is not None and fair < 0.7
    assert surface_accuracy(answers(10, "a", "b")) is None


def test_an_answer_in_another_language_is_noticed() -> None:
    german = "Der Fluss entspringt in den Hügeln über der Stadt und fließt vierzig Meilen bis zum Meer vorbei"
    assert other_language(answers(30, german, "")) == 1.0
    assert other_language(answers(30, TEXT, "")) == 0.0
    assert other_language(answers(30, "short", "")) is None


def test_share_judged_better_is_measured_only_where_both_answers_were_scored() -> None:
    frame = answers(4, "a", "b").assign(chosen_score=[2.0, 2.0, 0.0, None], rejected_score=[1.0, 1.0, 1.0, 1.0])
    assert pairs.measure(frame)["share_judged_better"] == pytest.approx(2 / 3)
    assert "share_judged_better" not in pairs.measure(answers(4, "a", "b"))


def verdict(i: int, forward: str, backward: str) -> dict[str, Any]:
    outcome = forward if forward == backward != "unparsed" else "tie"
    return {"prompt_id": f"p{i}", "first_id": "a", "second_id": "b", "forward": forward, "backward": backward, "outcome": outcome}


def broken_together(rows: list[dict[str, Any]], docs: Path) -> set[str]:
    checks = verdicts.derive(pd.DataFrame(rows), LIMITS)
    contracts = [c for c in verdicts.contracts(LIMITS) if c.scope == "mean"]
    return {r.contract.name for r in gate(checks, ["x"] * len(rows), contracts, docs, "test", "given").contracts if not r.kept}


def test_a_judge_that_always_says_first_breaks_consistency_and_position(tmp_path: Path) -> None:
    fair = [verdict(i, side, side) for i, side in enumerate(["first", "second"] * 5)]
    always_first = [verdict(i, "first", "second") for i in range(10)]  # "second" backward: it was shown first again
    assert broken_together(fair, tmp_path) == set()
    assert broken_together(always_first, tmp_path) == {"judge_consistent", "judge_has_no_position", "judge_decides"}


def test_a_judge_nobody_can_read_is_told(tmp_path: Path) -> None:
    assert "judge_readable" in broken_together([verdict(i, "unparsed", "unparsed") for i in range(5)], tmp_path)
