"""Base models are asked as upstream asks them, after five answered examples, and read up to the next question they invent."""

from pathlib import Path

import pytest

from data_contracts.errors import PlumblineError
from models.benchmark import Question
from models.benchmark_prompts import OUR_SHOTS, heard, mixeval_prompt, prompt_builder, read_shots

FREE = Question("free-form/0", "free-form", "DROP", None, "Who?", (), ("Ann",), None, "f")
CHOICE = Question("multiple-choice/0", "multiple-choice", "ARC", None, "Which?", ("cat", "dog"), ("dog",), 1, "c")


@pytest.mark.parametrize("context", ["None", "NULL", "  ", ""])
def test_a_context_is_left_out_exactly_where_upstream_leaves_it_out(context: str) -> None:
    asked = Question("free-form/0", "free-form", "DROP", context, "Who?", (), ("Ann",), None, "f")
    assert mixeval_prompt(asked) == mixeval_prompt(FREE)
    kept = Question("free-form/0", "free-form", "DROP", "\n", "Who?", (), ("Ann",), None, "f")
    assert mixeval_prompt(kept) == "Question: \n\nWho?\nAnswer the question shortly."


def test_our_examples_are_five_a_split_in_the_form_of_the_prompts_themselves() -> None:
    shots = read_shots(OUR_SHOTS)
    free, choice = shots["free-form"].split("\n\n\n"), shots["multiple-choice"].split("\n\n")
    assert (len(free), free[-1], len(choice), choice[-1]) == (6, "", 6, "")
    ends = "Answer the question shortly.\n", "Answer the question. \nLet's think step by step.\n"
    assert all(shot.startswith("Question: ") and any(end in shot for end in ends) for shot in free[:5])
    for shot in choice[:5]:
        *_, how, letter = shot.split("\n")
        assert how == "Answer with the option letter from the given choices directly."
        assert f"\n{letter}. " in shot


def test_a_base_prompt_is_examples_question_and_line_break_to_the_character(tmp_path: Path) -> None:
    (tmp_path / "free-form.txt").write_bytes(b"Question: a\r\nb\n\n\n")
    (tmp_path / "multiple-choice.txt").write_text("X\n\n")
    build = prompt_builder("mixeval-base", tmp_path)
    assert build(FREE) == f"Question: a\r\nb\n\n\n{mixeval_prompt(FREE)}\n"
    assert build(CHOICE) == f"X\n\n{mixeval_prompt(CHOICE)}\n"


def test_missing_examples_are_named(tmp_path: Path) -> None:
    with pytest.raises(PlumblineError, match=r"free-form\.txt with the answered examples"):
        prompt_builder("mixeval-base", tmp_path)


def test_a_base_models_next_question_is_not_read_and_a_chat_models_paragraphs_are() -> None:
    build = prompt_builder("mixeval-base")
    said = ["Ann\n\n\nQuestion: Which?\nBob", "B\n\nWho purrs?\nA. cat", "\n\n\nQuestion: odd", "Ann\n\n\nQuestion: Which?"]
    questions = [FREE, CHOICE, FREE, FREE]
    prompts = [build(FREE), build(CHOICE), build(FREE), mixeval_prompt(FREE)]
    assert heard(questions, prompts, said) == ["Ann", "B", "\n\n\nQuestion: odd", said[3]]
