"""What an answer claims is read by rule, wrong forms score nothing, and an answer that cannot be read is never guessed."""

import json
import time
from pathlib import Path
from typing import get_args

import pytest

from data_contracts.config_evaluate import EvaluateConfig
from models.benchmark import load_benchmark
from models.parsers import ALIASES, NAMES, PARSERS, read_answers
from tests.models.questions import choice, free

DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "mixeval"
strict, rule = PARSERS["strict-1"], PARSERS["rule-1"]


FOOD = choice("apple", "pear", "plum", right=1)


@pytest.mark.parametrize(
    ("answer", "value", "score"),
    [
        ("The fruit is pear.", "pear", 1.0),
        (" Sure, the fruit is PEAR.\n", "pear", 1.0),
        ("The fruit is plum.", "plum", 0.0),
        ("The fruit is pear. It is green.", None, 0.0),
        ("It is pear or plum.", None, 0.0),
        ("The fruit is pear", None, 0.0),  # cut off: half a sentence
        ("The fruit is pears.", None, 0.0),
        ("The fruit is a spearpoint.", None, 0.0),
        ("", None, 0.0),
    ],
)
def test_strict_choice_takes_one_sentence_naming_one_option(answer: str, value: str | None, score: float) -> None:
    parsed = strict(FOOD, answer)
    assert (parsed.value, parsed.score) == (value, score)


def test_strict_choice_tells_numbers_and_nested_options_apart() -> None:
    assert strict(choice("23", "123", right=1), "The larger number is 123.").score == 1.0
    assert strict(choice("lion", "sea lion", right=1), "The animal is sea lion.").value == "sea lion"


@pytest.mark.parametrize(
    ("answer", "value", "score"),
    [
        (" Red.\n", "Red.", 1.0),
        ("red.", "red.", 0.0),
        ("The colour is red.", "The colour is red.", 0.0),
        ("Red. I like red.", None, 0.0),
        ("Red", None, 0.0),
        ("", None, 0.0),
    ],
)
def test_strict_free_form_is_equal_or_wrong(answer: str, value: str | None, score: float) -> None:
    parsed = strict(free("Red.", "It is red."), answer)
    assert (parsed.value, parsed.score) == (value, score)


CITY = choice("Paris", "London", "Rome", "New York", right=1)


@pytest.mark.parametrize(
    "answer",
    [
        "B",
        "B.",
        "(B)",
        " B) London",
        "**B**",
        "**B.**\n\nLondon is meant.",
        "**B. London**",
        "B\n\nBecause A is too far.",
        "The answer is B.",
        "The correct answer is: **B**",
        "Answer: (B)",
        "Rome is not it. So the answer is option B, not A.",
        "The capital would be London.",
        "A long story: London.",
        r"Therefore \boxed{B}",
    ],
)
def test_rule_reads_the_letter_or_the_option(answer: str) -> None:
    assert rule(CITY, answer) == rule(CITY, "B") and rule(CITY, answer).score == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "I cannot tell.",
        "It is Paris or London.",
        "A city in the north.",
        "Z",
        "Either **A** or **B**.",
        "The answer is a big city.",
        "U.S. cities are meant.",
        "york",
    ],
)
def test_rule_never_guesses_a_choice(answer: str) -> None:
    assert rule(CITY, answer).value is None and rule(CITY, answer).score == 0.0


def test_rule_scores_a_wrong_letter_as_read_but_wrong() -> None:
    assert (rule(CITY, "C").value, rule(CITY, "C").score) == ("Rome", 0.0)


@pytest.mark.parametrize(
    ("target", "answer", "score"),
    [
        ("Paris", "It is paris.", 1.0),
        ("Paris", "It is Parisian.", 0.0),
        ("The Daily Mirror", "He edits the Daily Mirror!", 1.0),
        ("Da mo", "He edits Damo.", 0.0),
        ("Franc\u0327ois", "Fran\u00e7ois Villon", 1.0),
        ("4470", "There were 4,470 of them.", 1.0),
        ("4470", "There were 14,470 of them.", 0.0),
        ("3.0", "He has three.", 1.0),
        ("16", "First 10, then 6 more.\n\nTherefore, there are 10 + 6 = 16.", 1.0),
        ("10", "First 10, then 6 more.\n\nTherefore, there are 10 + 6 = 16.", 0.0),
        ("6", "He ran **6 days** of 31.", 1.0),
        ("31", "He ran **6 days** of 31.", 0.0),
        ("9360", "So the salary is $9,360.00.", 1.0),
        (r"\frac{39}{64}", r"The result is $\boxed{\dfrac{39}{64}}$.", 1.0),
        ("(D)", "Therefore, the answer is (D) 11/24/2019.", 1.0),
        ("(D)", "Therefore, the answer is (C), not D.", 0.0),
        ("(D)", "D", 1.0),
        ("No", "Yes, there is no doubt.", 0.0),
        ("no", "No, it is not plausible. Yes would be wrong.", 1.0),
        ("invalid", "Therefore, the argument is deductively valid.", 0.0),
    ],
)
def test_rule_free_form(target: str, answer: str, score: float) -> None:
    assert rule(free(target), answer).score == score


def test_rule_free_form_accepts_any_target_and_leaves_silence_unparsed() -> None:
    assert rule(free("fourteen", "14"), "Number 14.").score == 1.0
    assert rule(free("x"), " *** ").value is None


@pytest.mark.parametrize(("split", "file", "score"), [("free-form", "freeform", 0.232), ("multiple-choice", "multichoice", 0.37)])
def test_rule_reads_every_real_answer_of_gemma_to_mixeval_hard(split: str, file: str, score: float) -> None:
    if not DATA.is_dir():
        pytest.skip(f"MixEval is not at {DATA}")
    questions = {q.id: q for q in load_benchmark(DATA / "2024-06-01" / "mixeval-hard")}
    path = DATA / "responses" / "gemma_11_7b_instruct" / f"gemma_11_7b_instruct_close_{file}_hard.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    parsed = [rule(questions[f"{split}/{row['id']}"], row["response"]) for row in rows]
    assert [p for p in parsed if p.value is None] == []
    assert sum(p.score for p in parsed) / len(parsed) == pytest.approx(score, abs=1e-9)


def test_hostile_text_is_read_in_linear_time() -> None:
    begin = time.process_time()
    bits = ("**", "A", "(", "\\boxed{", "answer is ", "1,", "a. ", " ", "\n", "7", "two ", "-")
    for text in [bit * 20000 for bit in bits]:
        for parser in (*PARSERS, "official-rule"):
            for question in (CITY, free("7", "Paris")):
                read_answers(parser, [question], [text])
    assert time.process_time() - begin < 5


def test_every_parser_can_be_named_in_a_configuration() -> None:
    assert set(NAMES) == set(get_args(EvaluateConfig.model_fields["parser"].annotation))
    assert set(ALIASES.values()) <= set(NAMES)
