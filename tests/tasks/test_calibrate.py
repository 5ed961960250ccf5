"""A judge is measured against a record: one that goes by place or by length is told apart from one that merely errs."""

import json
import random

import pytest

from data_contracts.errors import PlumblineError
from tasks.calibrate import calibrate, recorded_verdicts, reference_judges, write_calibration
from tasks.comparison import POINTS, Comparison, Verdict
from tasks.recorded import Recorded, read_recorded

ALPACA = {
    "prompt": "instruction",
    "first": "gemma_7b_it",
    "second": "gpt4_turbo",
    "first_wins": "gpt4_judge_prob_gemma_wins",
}


def made(count=300, seed=0):
    """Comparisons whose truth has nothing to do with length."""
    rng = random.Random(seed)
    texts = [("x" * rng.randint(1, 200), "y" * rng.randint(1, 200)) for _ in range(count)]
    prompts = [[{"role": "user", "content": str(i)}] for i in range(count)]
    return [Recorded(Comparison(p, *t), rng.choice([0.0, 1.0])) for p, t in zip(prompts, texts, strict=True)]


def says(outcome):
    return Verdict(outcome, outcome, outcome, win_probability=POINTS[outcome])


def mean(found, name):
    return found.figures[name]["mean"]


def test_the_record_of_gpt4_tells_the_judges_apart(shared_data):
    rows = read_recorded(shared_data / "alpaca_eval_responses.jsonl", ALPACA)
    assert len(rows) == 403
    references = reference_judges(rows)
    first, length = (calibrate(name, rows, references[name]) for name in ("first", "length"))
    assert [mean(first, n) for n in ("accuracy", "ties", "first_position", "orders_agree", "kappa")] == [0.5, 1.0, 1.0, 0.0, 0.0]
    assert "prefers the answer shown first" in first.flags
    assert mean(length, "accuracy") > 0.8 and mean(length, "length_gap") == 1.0  # GPT-4's answers are longer, and win
    assert length.flags[0] == "prefers the longer answer against the record"
    record = calibrate("record", rows, recorded_verdicts(rows))
    assert record.flags == [] and [mean(record, n) for n in ("accuracy", "kappa", "length_gap")] == [1.0, 1.0, 0.0]


def test_a_judge_that_errs_without_bias_is_not_accused():
    rows, rng = made(), random.Random(1)
    swap = {"first": "second", "second": "first"}
    found = calibrate("noisy", rows, [says(r.said if rng.random() < 0.8 else swap[r.said]) for r in rows])
    assert found.flags == []
    for name, truth in (("accuracy", 0.8), ("kappa", 0.6), ("length_gap", 0.0), ("first_position", 0.5)):
        assert found.figures[name]["low"] < truth < found.figures[name]["high"] or mean(found, name) == truth


def test_biases_are_found_whichever_way_they_point():
    rows = made()
    shorter = [says("first" if len(r.comparison.first) < len(r.comparison.second) else "second") for r in rows]
    assert "prefers the shorter answer against the record" in calibrate("shorter", rows, shorter).flags
    second = calibrate("second", rows, [Verdict("second", "first", "tie") for _ in rows])
    assert "prefers the answer shown second" in second.flags and mean(second, "accuracy") == 0.5
    guess = random.Random(2)
    coin = calibrate("coin", rows, [says(guess.choice(["first", "second"])) for _ in rows])
    assert coin.flags == ["agrees with the record no better than chance"]


def test_kappa_and_accuracy_by_hand():
    truth = [1.0, 1.0, 1.0, 0.0, 0.0, 0.5]
    said = ["first", "first", "second", "second", "tie", "tie"]
    rows = [Recorded(Comparison([{"role": "user", "content": str(i)}], "a", "bb"), t) for i, t in enumerate(truth)]
    found = calibrate("hand", rows, [says(s) for s in said])
    assert mean(found, "accuracy") == pytest.approx(3.5 / 5)  # the recorded tie decides nothing, the judge's counts one half
    chance = (3 * 2 + 2 * 2 + 1 * 2) / 36
    assert mean(found, "kappa") == pytest.approx((4 / 6 - chance) / (1 - chance))
    assert mean(found, "ties") == pytest.approx(2 / 6)


def test_a_few_one_sided_comparisons_hold_nothing_against_the_record_itself():
    """Many resamples of such a record hold one verdict only: what then agrees agrees neither by chance nor beyond it."""
    rows = [Recorded(Comparison([{"role": "user", "content": str(i)}], "a", "bb"), float(i == 0)) for i in range(12)]
    found = calibrate("record", rows, recorded_verdicts(rows))
    assert found.flags == [] and found.figures["kappa"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    contrary = calibrate("contrary", rows, [says("second" if i == 0 else "first") for i in range(12)])
    assert "agrees with the record no better than chance" in contrary.flags
    assert calibrate("one side", rows[1:], recorded_verdicts(rows[1:])).figures["kappa"] is None


def test_comparisons_of_one_prompt_hang_together():
    rows = made(60)
    verdicts = [says("first") for _ in rows]
    apart = calibrate("apart", rows, verdicts).figures["accuracy"]
    copies = [row for row in rows for _ in range(5)]
    together = calibrate("together", copies, [says("first") for _ in copies]).figures["accuracy"]
    assert together["high"] - together["low"] == pytest.approx(apart["high"] - apart["low"], rel=0.15)


def test_a_judge_without_order_has_no_position(tmp_path):
    rows = made(40)
    found = calibrate("record", rows, recorded_verdicts(rows))
    assert found.figures["first_position"] is None and found.figures["orders_agree"] is None
    write_calibration(tmp_path, [found], rows, {"record": recorded_verdicts(rows)})
    told = json.loads((tmp_path / "calibration.json").read_text())
    assert told["comparisons"] == len(told["rows"]) == 40 and told["judges"][0]["figures"]["accuracy"]["mean"] == 1.0
    assert (tmp_path / "calibration.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", ":1 is not JSON"),
        ("[]", ":1 has no 'prompt'"),
        ('{"prompt": "p", "first": "a", "second": "b"}', "has no 'first_wins'"),
        ('{"prompt": "p", "first": "a", "second": 2, "first_wins": 1}', "answers must be text"),
        ('{"prompt": [], "first": "a", "second": "b", "first_wins": 1}', "prompt must be text or a list"),
        ('{"prompt": "p", "first": "a", "second": "b", "first_wins": 2}', "must be a number from 0 to 1"),
        ('{"prompt": "p", "first": "a", "second": "b", "first_wins": "A"}', "must be a number from 0 to 1"),
        ("", "is empty"),
    ],
)
def test_a_line_that_is_no_verdict_is_named(tmp_path, line, said):
    path = tmp_path / "recorded.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(PlumblineError, match=said):
        read_recorded(path, {})
