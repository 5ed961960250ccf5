"""What the benchmarks build for themselves is what they say it is."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

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
