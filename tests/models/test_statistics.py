"""The interval covers what it should, repeated questions widen it, and pairing removes what both models share."""

import time

import numpy as np
import pytest

from data_contracts.errors import PlumblineError
from models.statistics import holm, mean_interval, paired_gain, paired_test, selection_bias


def clustered(rng: np.random.Generator, n: int = 120) -> tuple[np.ndarray, list[str]]:
    """`n` questions asked 1 to 4 times; copies of a question nearly always get the same score. True mean .6."""
    copies = rng.integers(1, 5, n)
    truth = rng.random(n) < 0.6
    clusters = np.repeat(np.arange(n), copies)
    flipped = rng.random(len(clusters)) < 0.02
    noise = rng.random(len(clusters)) < 0.6
    return np.where(flipped, noise, truth[clusters]).astype(float), [str(c) for c in clusters]


def coverage(as_independent: bool) -> float:
    rng, inside = np.random.default_rng(1), 0
    for i in range(300):
        values, clusters = clustered(rng)
        labels = [str(j) for j in range(len(values))] if as_independent else clusters
        interval = mean_interval(values, labels, resamples=500, seed=i)
        inside += interval.low <= 0.6 <= interval.high
    return inside / 300


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    assert 0.91 <= coverage(as_independent=False) <= 0.98


def test_taking_copies_for_independent_rows_covers_too_seldom() -> None:
    assert coverage(as_independent=True) < 0.85


def test_copies_of_a_question_do_not_narrow_the_interval() -> None:
    values = (np.random.default_rng(0).random(200) < 0.5).astype(float)
    once = mean_interval(values, [str(i) for i in range(200)])
    four_times = mean_interval(np.tile(values, 4), [str(i) for i in range(200)] * 4)
    unclustered = mean_interval(np.tile(values, 4), [str(i) for i in range(800)])
    assert four_times.high - four_times.low == pytest.approx(once.high - once.low, rel=0.05)
    assert unclustered.high - unclustered.low < 0.6 * (once.high - once.low)


def test_interval_agrees_with_the_normal_approximation_on_independent_rows() -> None:
    values = (np.arange(1000) % 4 == 0).astype(float)
    interval = mean_interval(values, [str(i) for i in range(1000)])
    half = 1.96 * (0.25 * 0.75 / 1000) ** 0.5
    assert interval.mean == 0.25
    assert (interval.low, interval.high) == pytest.approx((0.25 - half, 0.25 + half), abs=0.004)


def test_same_arguments_give_the_same_interval_and_confidence_widens_it() -> None:
    values, clusters = clustered(np.random.default_rng(3))
    assert mean_interval(values, clusters) == mean_interval(values, clusters)
    narrow, wide = mean_interval(values, clusters, 0.8), mean_interval(values, clusters, 0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_two_thousand_resamples_of_a_whole_benchmark_are_quick() -> None:
    values = np.random.default_rng(0).random(4000)
    begin = time.process_time()
    mean_interval(values, [str(i) for i in range(4000)])
    assert time.process_time() - begin < 2


def test_nothing_to_average_and_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(PlumblineError, match="at least one score"):
        mean_interval([], [])
    with pytest.raises(PlumblineError, match="1 of 2 scores"):
        mean_interval([1.0, float("nan")], ["a", "b"])


def answers(scores: list[float]) -> list[dict[str, object]]:
    return [{"question_id": f"free-form/{i}", "question": str(i // 2), "score": score} for i, score in enumerate(scores)]


def test_gain_between_equal_answers_is_exactly_zero() -> None:
    rows = answers([1.0, 0.0, 1.0, 1.0])
    gain = paired_gain(rows, rows)
    assert (gain.mean, gain.low, gain.high) == (0.0, 0.0, 0.0)


def test_pairing_is_tighter_than_two_separate_intervals() -> None:
    rng = np.random.default_rng(0)
    old = (rng.random(400) < 0.5).astype(float)
    new = np.where(rng.random(400) < 0.1, 1.0, old)
    gain = paired_gain(answers(list(new)), answers(list(old)))
    clusters = [str(i // 2) for i in range(400)]
    apart = mean_interval(new, clusters), mean_interval(old, clusters)
    assert gain.low > 0
    assert gain.high - gain.low < 0.7 * (apart[0].high - apart[0].low)


def test_gain_matches_rows_by_question_not_by_position() -> None:
    rows = answers([1.0, 0.0, 0.5, 0.0])
    assert paired_gain(rows, rows[::-1]).high == 0.0


def test_other_questions_are_refused() -> None:
    with pytest.raises(PlumblineError, match="same questions"):
        paired_gain(answers([1.0, 0.0]), answers([1.0]))
    changed = answers([1.0, 0.0])
    changed[1]["question"] = "another"
    with pytest.raises(PlumblineError, match="same questions"):
        paired_gain(answers([1.0, 0.0]), changed)


def test_a_p_value_is_uniform_where_nothing_differs_and_small_where_much_does() -> None:
    rng = np.random.default_rng(5)
    values = []
    for _ in range(200):
        pair = [answers(list((rng.random(120) < 0.5).astype(float))) for _ in range(2)]
        values.append(paired_test(*pair, resamples=50).p)
    assert 0.01 <= np.mean(np.array(values) < 0.05) <= 0.10
    old = (rng.random(400) < 0.4).astype(float)
    assert paired_test(answers(list(np.maximum(old, rng.random(400) < 0.2))), answers(list(old))).p < 0.001


def test_a_p_value_counts_distinct_questions_not_rows() -> None:
    """Three questions of 40 copies each, all better: three coins, so no p below 2 in 8."""
    new = [{"question_id": str(i), "question": str(i % 3), "score": 1.0} for i in range(120)]
    old = [row | {"score": 0.0} for row in new]
    assert paired_test(new, old).p == pytest.approx(0.25, abs=0.02)


def test_a_gain_is_held_against_the_size_that_is_asked_of_it() -> None:
    """A quarter of the questions better: surely more than nothing, as likely as not more than a quarter."""
    old, new = answers([0.0] * 200), answers([1.0] * 50 + [0.0] * 150)
    ps = [paired_test(new, old, beyond=least).p for least in (0.0, 0.2, 0.25, 0.5)]
    assert ps[0] < 0.001 and 0.05 < ps[1] < 0.5 and ps[2] == 1.0 and ps[3] < 0.001


def test_the_bias_of_picking_a_maximum_is_about_what_picking_gains() -> None:
    """Eight equally good models: the maximum of their scores is too high by a known amount (normal order statistics)."""
    rng = np.random.default_rng(3)
    models = [answers(list((rng.random(800) < 0.5).astype(float))) for _ in range(8)]
    clustered_error = (0.5 * 0.5 / 800) ** 0.5
    assert 0.3 * 1.42 * clustered_error < selection_bias(models) < 1.5 * 1.42 * clustered_error
    assert selection_bias(models[:1]) == pytest.approx(0, abs=2e-3)
    clear = [answers([1.0] * 800), *models[:3]]
    assert selection_bias(clear) == pytest.approx(0, abs=1e-9)


def test_p_values_read_beside_each_other_are_adjusted_as_holm_did_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.03]) == [0.03] and holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]
