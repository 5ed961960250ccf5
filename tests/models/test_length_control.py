"""A win rate at equal length: what length alone won disappears, and what it did not win stays."""

import json

import numpy as np
import pytest

from models.length_control import length_controlled
from models.statistics import standard_error
from tasks.win_rate import rates

IDS = [str(i) for i in range(600)]


def longer(rng):
    """New answers that are mostly longer, by 100 characters on average."""
    return rng.normal(100, 120, len(IDS))


def test_a_judge_that_only_likes_length_prefers_nobody_at_equal_length():
    rng = np.random.default_rng(0)
    lengths = longer(rng)
    wins = (rng.random(len(IDS)) < 1 / (1 + np.exp(-lengths / 60))).astype(float)
    found = length_controlled(wins, lengths, IDS)
    assert wins.mean() > 0.7 and found.rate == pytest.approx(0.5, abs=0.06) and found.low < 0.5 < found.high
    assert found.length_effect > 1


def test_length_alone_deciding_everything_has_an_answer_too():
    lengths = longer(np.random.default_rng(1))
    wins = (lengths > 0).astype(float)
    found = length_controlled(wins, lengths, IDS)
    assert wins.mean() > 0.75 and abs(found.rate - 0.5) < 0.5 * (wins.mean() - 0.5)


def test_wins_that_length_does_not_decide_stay():
    rng = np.random.default_rng(2)
    wins = (rng.random(len(IDS)) < 0.7).astype(float)
    found = length_controlled(wins, longer(rng), IDS)
    assert found.rate == pytest.approx(wins.mean(), abs=0.03) and abs(found.length_effect) < 0.4


def test_no_difference_in_length_leaves_the_raw_rate_and_its_textbook_error():
    wins = np.array([1.0] * 420 + [0.0] * 180)
    found = length_controlled(wins, np.zeros(600), IDS)
    assert found.rate == pytest.approx(0.7, abs=1e-3) and found.standard_error == pytest.approx((0.21 / 600) ** 0.5, rel=0.01)


def test_the_error_of_questions_asked_twice_is_that_of_half_as_many():
    rng = np.random.default_rng(3)
    lengths, wins = longer(rng), (rng.random(len(IDS)) < 0.6).astype(float)
    once, twice = length_controlled(wins, lengths, IDS), length_controlled(np.tile(wins, 2), np.tile(lengths, 2), IDS * 2)
    assert twice.standard_error == pytest.approx(once.standard_error, rel=0.02)
    assert standard_error(np.tile(wins, 2), IDS * 2) == pytest.approx(standard_error(wins, IDS))
    assert standard_error(wins, IDS) == pytest.approx(wins.std(ddof=1) / len(wins) ** 0.5)


def test_difficulty_is_centred_and_changes_no_rate_where_it_explains_nothing():
    rng = np.random.default_rng(4)
    lengths, wins = longer(rng), (rng.random(len(IDS)) < 0.6).astype(float)
    plain, known = length_controlled(wins, lengths, IDS), length_controlled(wins, lengths, IDS, rng.random(len(IDS)) + 7)
    assert known.rate == pytest.approx(plain.rate, abs=0.005)


@pytest.mark.parametrize("known", [False, True])
def test_the_interval_covers_the_rate_on_all_questions_as_often_as_it_says(known):
    """Questions are drawn too, so that with unequal difficulties not only the coefficients are uncertain."""
    rng, inside, runs = np.random.default_rng(5), 0, 120
    truth = (1 / (1 + np.exp(-(0.5 + 2 * known * rng.normal(size=400_000))))).mean()
    for _ in range(runs):
        lengths, hard = rng.normal(50, 150, 200), rng.normal(size=200)
        logits = 0.5 + np.tanh(lengths / lengths.std(ddof=1)) + 2 * known * hard
        wins = (rng.random(200) < 1 / (1 + np.exp(-logits))).astype(float)
        found = length_controlled(wins, lengths, IDS[:200], hard if known else None)
        inside += found.low <= truth <= found.high
    assert 0.91 <= inside / runs <= 0.99


def test_recorded_verdicts_of_alpaca_eval_give_the_raw_rate_exactly(shared_data):
    rows = [json.loads(line) for line in (shared_data / "alpaca_eval_responses.jsonl").read_text().splitlines()]
    verdicts = [row["gpt4_judge_prob_gemma_wins"] for row in rows]
    lengths = [len(row["gemma_7b_it"]) - len(row["gpt4_turbo"]) for row in rows]
    found = rates(verdicts, lengths, [row["instruction"] for row in rows])
    assert found["win_rate"] == pytest.approx(sum(verdicts) / 403, abs=1e-12) == pytest.approx(0.0709613, abs=1e-7)
    assert found["low"] < found["win_rate"] < found["high"] and found["longer"] < 0
    assert found["length_controlled"]["rate"] > found["win_rate"]  # the leaderboard too: 6.9 raw, 10.4 at equal length
