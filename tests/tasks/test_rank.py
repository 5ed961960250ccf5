"""Ranking accuracy, with intervals that mean something."""

import random

import pytest

from data_contracts.errors import PlumblineError
from data_contracts.store import build
from models.checkpoint import open_checkpoint
from models.statistics import paired_test
from tasks.rank import conversations, rank, ranked_rightly, ranking_accuracy, reward_accuracy, share
from tests.pairs_dataset import pair_rows, pairs_dataset


def row(chosen, rejected, n=(10, 10), name="a"):
    return {"pair_id": name, "chosen_logp": chosen, "rejected_logp": rejected, "chosen_tokens": n[0], "rejected_tokens": n[1]}


def test_ranked_by_the_model_itself_and_better_after_training(tiny, trainer, tmp_path):
    from data_contracts.config_align import AlignConfig
    from tasks.align import align

    pairs = pairs_dataset(tmp_path / "pairs", tiny, 24)
    config = AlignConfig.model_validate({"objective": {"name": "dpo"}, "learning_rate": 2e-3, "epochs": 6, "batch_size": 8})
    align(tmp_path / "align", pairs, config, tiny, tiny, 0, trainer)
    before = rank(tmp_path / "before", pairs, tiny, trainer)
    after = rank(tmp_path / "after", pairs, open_checkpoint(tmp_path / "align" / "model"), trainer)
    assert before.kind == "rankings" and before.rows == 24 == before.facts["pairs"]
    assert after.facts["accuracy"]["mean"] > before.facts["accuracy"]["mean"]
    openings = conversations(pairs)
    assert reward_accuracy(after, before, openings)["mean"] > 0.9 > 0.1 > reward_accuracy(before, after, openings)["mean"]
    assert before.key != after.key


def test_of_one_sided_rows_none_is_ranked(tiny, trainer, tmp_path):
    rows = [row | ({} if i < 2 else {"chosen": None, "chosen_ids": None}) for i, row in enumerate(pair_rows(tiny, 4))]
    found = rank(tmp_path / "some", pairs_dataset(tmp_path / "mixed", tiny, 4, rows=rows), tiny, trainer)
    assert found.facts["pairs"] == 2 and [r["pair_id"] for r in found.records()] == ["p0", "p1"]
    none = rank(tmp_path / "none", pairs_dataset(tmp_path / "alone", tiny, 2, rows=rows[2:]), tiny, None)
    assert none.rows == 0 and none.facts == {"pairs": 0, "accuracy": None, "accuracy_per_token": None, "shorter": None}


def test_sum_and_mean_a_token_are_told_apart():
    facts = ranking_accuracy([row(-10.0, -12.0, (5, 20)), row(-9.0, -8.0, (10, 2)), row(-1.0, -2.0)])
    assert facts["accuracy"]["mean"] == pytest.approx(2 / 3)
    assert facts["accuracy_per_token"]["mean"] == pytest.approx(2 / 3)
    assert facts["shorter"]["mean"] == pytest.approx(1 / 3)
    assert ranking_accuracy([row(-1.0, -1.0)])["accuracy"]["mean"] == 0  # a tie is not ranked rightly


def test_rankings_of_different_pairs_are_not_compared(tmp_path):
    one, other = (
        build(tmp_path / n, "rankings", {"n": n}, lambda work, n=n: ([row(-1.0, -2.0, name=n)], {})) for n in ("a", "b")
    )
    with pytest.raises(PlumblineError, match="different pairs"):
        reward_accuracy(one, other, {})


def test_pairs_of_one_conversation_are_no_independent_witnesses(tmp_path):
    """Data such as PKU-SafeRLHF has a prompt in many pairs: taken for independent, 3 conversations proved what they cannot."""
    names = [f"{group}{i}" for group in "abc" for i in range(20)]
    openings = {name: name[0] for name in names}
    before, after = (
        build(tmp_path / side, "rankings", {}, lambda _, c=c: ([row(c, -2.0, name=n) for n in names], {}))
        for side, c in (("before", -3.0), ("after", -1.0))
    )
    new, old = ([ranked_rightly(r, openings[r["pair_id"]]) for r in side.records()] for side in (after, before))
    assert paired_test(new, old).p > 0.2 and paired_test(new, old).distinct == 3
    alone = [[r | {"question": r["question_id"]} for r in side] for side in (new, old)]
    assert paired_test(*alone).p < 0.001
    mixed = build(
        tmp_path / "mixed", "rankings", {}, lambda _: ([row(-3.5 + 2 * (n[0] == "a"), -2.0, name=n) for n in names], {})
    )
    wide, narrow = (reward_accuracy(mixed, before, told) for told in (openings, {n: n for n in names}))
    assert wide["high"] - wide["low"] > 2 * (narrow["high"] - narrow["low"])


def test_the_interval_is_wilsons():
    found = share([True] * 8 + [False] * 2)  # a textbook case: 8 of 10
    assert (found["mean"], found["low"], found["high"]) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
    assert share([True] * 5)["high"] == pytest.approx(1) and 0.5 < share([True] * 5)["low"] < 0.6


@pytest.mark.parametrize("p", [0.5, 0.9])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(p):
    rng = random.Random(0)
    covered = 0
    for _ in range(1000):
        found = share([rng.random() < p for _ in range(60)])
        covered += found["low"] <= p <= found["high"]
    assert 0.93 <= covered / 1000 <= 0.97
