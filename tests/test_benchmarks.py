"""What the benchmarks build for themselves is what they say it is."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from benchmarks.overhead.__main__ import compare
from benchmarks.overhead.wider import widen

STUDENT = Path(__file__).parents[1] / "models" / "embedded" / "student"


def test_a_wider_student_says_the_same_and_its_zeros_take_no_part_in_training(tmp_path: Path) -> None:
    tokens = torch.tensor([[5, 17, 99, 230, 7, 41]])
    narrow = AutoModelForCausalLM.from_pretrained(STUDENT)
    wide = AutoModelForCausalLM.from_pretrained(widen(STUDENT, tmp_path / "wide", 3))
    assert wide.num_parameters() > 6 * narrow.num_parameters()
    torch.testing.assert_close(wide(tokens).logits, narrow(tokens).logits, atol=1e-4, rtol=1e-4)
    wide(tokens, labels=tokens).loss.backward()
    for name, weight in wide.named_parameters():
        assert weight.grad is not None
        padding = weight == 0
        if not name.endswith("norm.weight"):
            assert padding.any() and weight.grad[padding].abs().max() < 1e-7, name


def test_what_a_round_costs_more_is_told_pair_by_pair_whatever_the_machine_does_meanwhile() -> None:
    drift = [10.0 + n for n in range(20)]  # seconds: a machine that slows down to a third of its speed
    found = compare([seconds + 0.3 for seconds in drift], drift)
    assert found["a round, added, seconds"] == 0.3 and found["a round, added, seconds, 95 % interval"] == [0.3, 0.3]
    spread = compare([seconds + n % 5 for n, seconds in enumerate(drift)], drift)
    low, high = spread["a round, added, seconds, 95 % interval"]
    assert low < spread["a round, added, seconds"] == 2 < high
