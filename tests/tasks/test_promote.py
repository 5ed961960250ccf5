"""A candidate is promoted only if its gain is above the threshold with confidence and it wins often enough."""

from pathlib import Path

import pytest

from data_contracts.config_evaluate import PromoteConfig
from data_contracts.errors import PlumblineError
from data_contracts.store import Dataset, build
from tasks.promote import Decision, decide, read_decision, write_decision


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
    assert made.reason.startswith("Promoted: overall went from 0.500 to 0.700, a gain of +0.200 (95% interval +0.1")
    assert made.reason.endswith("and the win rate 0.600 (0.550 to 0.650) is at least 0.5.")


def test_no_change_is_rolled_back(tmp_path: Path) -> None:
    made = decision(tmp_path, HALF, HALF)
    assert not made.promoted and made.numbers["gain_low"] == 0.0
    assert made.reason.startswith("Rolled back: ") and made.reason.endswith("the interval is not above +0.")


def test_a_loss_is_rolled_back(tmp_path: Path) -> None:
    assert not decision(tmp_path, HALF, MORE).promoted


def test_a_gain_that_may_be_chance_is_rolled_back_unless_less_confidence_is_asked(tmp_path: Path) -> None:
    by_chance = HALF.copy()
    by_chance[50:53] = [1.0] * 3
    assert not decision(tmp_path / "a", by_chance, HALF).promoted
    assert decision(tmp_path / "b", by_chance, HALF, confidence=0.8).promoted


def test_too_few_wins_are_rolled_back_whatever_the_gain(tmp_path: Path) -> None:
    made = decision(tmp_path, MORE, HALF, win_rate=0.49)
    assert not made.promoted and made.reason.endswith("the win rate is below 0.5.")


def test_a_gain_below_the_threshold_is_rolled_back(tmp_path: Path) -> None:
    assert not decision(tmp_path, MORE, HALF, min_gain=0.15).promoted


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
