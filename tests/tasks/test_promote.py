"""A candidate is promoted only if its gain is above the threshold with confidence and it wins often enough."""

import re
from pathlib import Path

import pytest
import yaml

from data_contracts.config_evaluate import EvaluateConfig, HarnessConfig, PromoteConfig, WinRateConfig
from data_contracts.errors import PlumblineError
from data_contracts.store import Dataset, build
from tasks.promote import Decision, check_promotion, decide, read_decision, write_decision


def answers(folder: Path, scores: list[float], split: str = "free-form") -> Dataset:
    rows = [
        {
            "question_id": f"{split}/{i}",
            "split": split,
            "benchmark": "b",
            "question": f"{split} q{i}",
            "prompt": "p",
            "prompt_ids": [1],
            "response": "r",
            "token_ids": [1],
            "stopped": True,
            "parsed": "r",
            "score": score,
        }
        for i, score in enumerate(scores)
    ]
    return build(folder, "answers", {"scores": scores, "split": split}, lambda _: (rows, {}))


def decision(tmp_path: Path, new: list[float], old: list[float], win_rate: float = 0.6, **rule: object) -> Decision:
    facts = {"win_rate": win_rate, "low": win_rate - 0.05, "high": win_rate + 0.05}
    wins = build(tmp_path / "win_rate", "verdicts", {}, lambda _: ([], facts))
    return decide(answers(tmp_path / "new", new), answers(tmp_path / "old", old), wins, PromoteConfig(**rule))


HALF, MORE = [1.0] * 50 + [0.0] * 50, [1.0] * 70 + [0.0] * 30


def test_a_clear_gain_with_enough_wins_is_promoted_and_told_with_its_numbers(tmp_path: Path) -> None:
    made = decision(tmp_path, MORE, HALF)
    assert made.promoted and made.numbers["gain"] == pytest.approx(0.2) and made.numbers["gain_low"] > 0.1
    assert made.reason.startswith("Promoted: overall went from 0.500 to 0.700, a gain of +0.200 (95 % interval +0.1")
    assert made.reason.endswith("and the win rate 0.600 (0.550 to 0.650) is at least 0.5.")


def test_no_change_is_rolled_back(tmp_path: Path) -> None:
    made = decision(tmp_path, HALF, HALF)
    assert not made.promoted and made.numbers["gain_low"] == 0.0
    assert made.reason.startswith("Rolled back: ") and made.reason.endswith("the gain is not surely above 0.")


def test_a_loss_is_rolled_back(tmp_path: Path) -> None:
    assert not decision(tmp_path, HALF, MORE).promoted


def test_a_gain_that_may_be_chance_is_rolled_back_unless_less_confidence_is_asked(tmp_path: Path) -> None:
    by_chance = HALF.copy()
    by_chance[50:54] = [1.0] * 4  # two equal models differ like this in one of eight cases, whatever a bootstrap of four says
    made = decision(tmp_path / "a", by_chance, HALF)
    assert made.numbers["gain_low"] > 0 and made.numbers["gain_p"] == pytest.approx(1 / 8, abs=0.02)
    assert not made.promoted and "of 100 distinct questions that may be chance (p = 0.1" in made.reason
    assert decision(tmp_path / "b", by_chance, HALF, confidence=0.8).promoted
    assert not decision(tmp_path / "c", by_chance, HALF, confidence=0.8, min_gain=0.03).promoted


def test_too_few_wins_are_rolled_back_whatever_the_gain(tmp_path: Path) -> None:
    made = decision(tmp_path, MORE, HALF, win_rate=0.49)
    assert not made.promoted and made.reason.endswith("the win rate is below 0.5.")


def test_a_gain_below_the_threshold_is_rolled_back(tmp_path: Path) -> None:
    assert not decision(tmp_path, MORE, HALF, min_gain=0.15).promoted


def test_every_model_is_promoted_where_the_documentation_says_so(tmp_path: Path) -> None:
    shown = re.search("`promote: ({.*})`\\.", (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text())
    assert shown
    assert decision(tmp_path / "worst", [0.0] * 100, [1.0] * 100, 0.05, **yaml.safe_load(shown[1])).promoted
    assert not decision(tmp_path / "otherwise", [0.0] * 100, [1.0] * 100, 0.05).promoted


def test_a_metric_the_benchmark_lacks_and_other_questions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlumblineError, match="holds no such question"):
        decision(tmp_path / "a", MORE, HALF, metric="multiple-choice")
    with pytest.raises(PlumblineError, match="same questions"):
        decision(tmp_path / "b", MORE, HALF[:99])


def test_a_decision_comes_back_as_it_was_written(tmp_path: Path) -> None:
    made = decision(tmp_path, MORE, HALF)
    assert read_decision(tmp_path / "decision.json") is None
    write_decision(tmp_path / "decision.json", made)
    assert read_decision(tmp_path / "decision.json") == made


def harness_results(folder: Path, scores: list[float]) -> Dataset:
    rows = [
        {"task": "own", "metric": "acc", "question_id": f"own/{i}", "question": str(i), "score": s} for i, s in enumerate(scores)
    ]
    return build(folder, "harness", {"scores": scores}, lambda _: (rows, {}))


def test_a_significant_loss_on_a_guarded_metric_is_rolled_back_and_no_loss_is_told(tmp_path: Path) -> None:
    new, old = answers(tmp_path / "new", MORE), answers(tmp_path / "old", HALF)
    wins = build(tmp_path / "wins", "verdicts", {}, lambda _: ([], {"win_rate": 0.6, "low": 0.55, "high": 0.65}))
    rule = PromoteConfig(guards=["free-form", "harness.own.acc"])
    good, bad = harness_results(tmp_path / "good", HALF), harness_results(tmp_path / "bad", [0.0] * 100)
    lost = decide(new, old, wins, rule, (bad, good))
    assert not lost.promoted and "harness.own.acc lost -0.500 (-0.6" in lost.reason
    assert lost.reason.endswith("Guarded, with no significant loss: free-form +0.200 (+0.130 to +0.280).")
    assert lost.numbers["guard.harness.own.acc"] == -0.5 and lost.numbers["guard.harness.own.acc.high"] < 0
    kept = decide(new, old, wins, rule, (good, good))
    assert kept.promoted and "harness.own.acc +0.000" in kept.reason
    few = harness_results(tmp_path / "few", [0.0] * 3), harness_results(tmp_path / "before", [1.0] * 3)
    chance = decide(new, old, wins, rule, few)  # three questions lost are three coins
    assert chance.promoted and "harness.own.acc -1.000 (-1.000 to -1.000) with p 0.2" in chance.reason
    with pytest.raises(PlumblineError, match=r"promote.guards names harness.own.f1"):
        decide(new, old, wins, PromoteConfig(guards=["harness.own.f1"]), (good, good))


def test_the_lower_end_of_a_win_rate_and_the_rate_at_equal_length_can_decide(tmp_path: Path) -> None:
    new, old = answers(tmp_path / "new", MORE), answers(tmp_path / "old", HALF)
    equal = {"rate": 0.45, "low": 0.4, "high": 0.5, "standard_error": 0.02, "length_effect": 2.0}
    facts = {"win_rate": 0.6, "low": 0.55, "high": 0.65, "length_controlled": equal}
    wins = build(tmp_path / "wins", "verdicts", {}, lambda _: ([], facts))
    assert decide(new, old, wins, PromoteConfig(min_win_rate_low=0.55)).promoted
    low = decide(new, old, wins, PromoteConfig(min_win_rate_low=0.56))
    assert not low.promoted and low.reason.endswith("the lower end of the win rate's interval is below 0.56.")
    controlled = decide(new, old, wins, PromoteConfig(length_controlled=True, against="start"))
    assert not controlled.promoted and "length-controlled win rate against start 0.450 (0.400 to 0.500)" in controlled.reason


def test_what_a_run_will_not_measure_is_refused_before_it_starts() -> None:
    evaluate, rates = EvaluateConfig(benchmark="b", harness=HarnessConfig(tasks=["own"])), WinRateConfig(against=["start"])
    check_promotion(PromoteConfig(metric="GSM8k", guards=["harness.own.acc"], against="start"), evaluate, rates, ["GSM8k"])
    with pytest.raises(
        PlumblineError, match=r"promote.metric names gsm8k, which is not measured: use one of overall, GSM8k, har"
    ):
        check_promotion(PromoteConfig(metric="gsm8k"), evaluate, rates, ["GSM8k"])
    with pytest.raises(PlumblineError, match=r"promote.guards names harness.other.acc"):
        check_promotion(PromoteConfig(guards=["harness.other.acc"]), evaluate, rates, ["GSM8k"])
    with pytest.raises(PlumblineError, match=r"promote.against is gpt4: use one of previous, start"):
        check_promotion(PromoteConfig(against="gpt4"), evaluate, rates, ["GSM8k"])
    with pytest.raises(PlumblineError, match="names one opponent twice"):
        check_promotion(PromoteConfig(), evaluate, WinRateConfig(against=["start", "start"]), ["GSM8k"])
