"""Each distinct prompt is answered once, and never again for the same weights, prompts and sampling, whoever asks."""

import os
from pathlib import Path

import pytest

from models.answers import answer
from models.checkpoint import Checkpoint
from models.engine import Completion


class Counting:
    """The engine's interface; answers with the prompt's own ids reversed, and counts."""

    dtype, on_gpu, version, max_model_len = "float32", False, "1", 512

    def __init__(self, tokenizer) -> None:
        self.tokenizer, self.asked = tokenizer, 0

    def use(self, checkpoint) -> None:
        pass

    def generate(self, prompts, sampling, seeds, progress):
        assert sampling.temperature == 0
        self.asked += len(prompts)
        return [Completion(self.tokenizer.decode(p), list(reversed(p)), "stop") for p in prompts]


@pytest.fixture(scope="module")
def tokenizer(student):
    from models.checkpoint import load_tokenizer

    return load_tokenizer(student.path)


PROMPTS = ["one", "two", "one"]


def test_equal_prompts_are_generated_once_and_every_place_gets_the_answer(tokenizer, student) -> None:
    engine = Counting(tokenizer)
    given = answer(engine, student, PROMPTS, 8)
    assert engine.asked == 2 and given.reused == 0
    assert given.completions[0] == given.completions[2] != given.completions[1]
    assert given.prompt_ids[0] == given.completions[0].token_ids[::-1]


def test_what_one_run_had_answered_costs_the_next_one_nothing(tokenizer, student, tmp_path: Path) -> None:
    first = answer(Counting(tokenizer), student, PROMPTS, 8, kept=tmp_path / ".answers")
    engine = Counting(tokenizer)
    second = answer(engine, student, PROMPTS, 8, kept=tmp_path / ".answers")
    assert engine.asked == 0 and second.reused == 2
    assert (second.prompt_ids, second.completions) == (first.prompt_ids, first.completions)


def test_whatever_could_change_an_answer_asks_again(tokenizer, student, tmp_path: Path) -> None:
    kept = tmp_path / ".answers"
    answer(Counting(tokenizer), student, PROMPTS, 8, kept=kept)
    other = Checkpoint(student.path, "other weights")
    engine = Counting(tokenizer)
    newer = Counting(tokenizer)
    newer.version = "2"
    narrower = Counting(tokenizer)
    narrower.max_model_len = 256  # it would cut a long answer earlier
    for again in (
        lambda: answer(engine, other, PROMPTS, 8, kept=kept),
        lambda: answer(engine, student, [*PROMPTS, "three"], 8, kept=kept),
        lambda: answer(engine, student, PROMPTS, 9, kept=kept),
        lambda: answer(engine, student, PROMPTS, 8, chat=False, kept=kept),
        lambda: answer(newer, student, PROMPTS, 8, kept=kept),
        lambda: answer(narrower, student, PROMPTS, 8, kept=kept),
    ):
        assert again().reused == 0


def test_answers_that_somebody_else_put_there_are_left_alone(tokenizer, student, tmp_path: Path, monkeypatch) -> None:
    kept = tmp_path / ".answers"
    answer(Counting(tokenizer), student, PROMPTS, 8, kept=kept)
    monkeypatch.setattr(os, "getuid", lambda: kept.stat().st_uid + 1)
    engine = Counting(tokenizer)
    assert answer(engine, student, PROMPTS, 8, kept=kept).reused == 0 and engine.asked == 2


def test_a_base_model_continues_plain_text_without_a_chat_template(tokenizer, student) -> None:
    (ids,) = answer(Counting(tokenizer), student, ["Question: one <|end|>"], 8, chat=False).prompt_ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "Question: one <|end|>"


@pytest.mark.engine
def test_the_real_engine_reuses_its_answers(engine, student, tmp_path: Path) -> None:
    first = answer(engine, student, ["What is 2 plus 3?"], 8, kept=tmp_path / ".answers")
    second = answer(engine, student, ["What is 2 plus 3?"], 8, kept=tmp_path / ".answers")
    assert (first.reused, second.reused) == (0, 1) and first.completions == second.completions
