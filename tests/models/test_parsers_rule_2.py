"""`rule-2` reads every form that `rule-1` reads and more, and an echo of the question is no answer."""

import json
from pathlib import Path

import pytest

from models.benchmark import load_benchmark
from models.parsers import PARSERS
from models.parsers.numbers import find_numbers, only_number
from tests.models.questions import choice, free

rule = PARSERS["rule-2"]


CITY = choice("Paris", "London", "Rome", "New York", right=1)


@pytest.mark.parametrize(
    "answer",
    [
        *("B", "B.", "(B)", " B) London", "**B**", "**B.**\n\nLondon is meant.", "**B. London**", "B\n\nBecause A is too far."),
        *("b)", "(b) London", "b. London", "[B]", "**(B)** London", "## B"),
        *("The answer is B.", "The correct answer is: **B**", "Answer: (B)", "I would go with B.", "I choose option B."),
        *("So the answer is option B, not A.", "Option B fits best.", "It must be (B) then.", r"Therefore \boxed{B}"),
        *("The capital would be London.", "A long story: London.", "It's **London**."),
        *("The second option is right.", "I take option 2.", "The answer is the second one."),
        "Paris, Rome and London are cities. Therefore, it is London.",
    ],
)
def test_every_form_of_a_letter_or_option_is_read(answer: str) -> None:
    assert rule(CITY, answer) == rule(CITY, "B") and rule(CITY, answer).score == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        *("", "I cannot tell.", "It is Paris or London.", "A city in the north.", "Z", "Either **A** or **B**.", "york"),
        *("The answer is a big city.", "U.S. cities are meant.", "Option 7.", "The first option or the second option."),
    ],
)
def test_a_choice_is_never_guessed(answer: str) -> None:
    assert rule(CITY, answer).value is None and rule(CITY, answer).score == 0.0


def test_an_option_that_is_a_number_is_found_by_its_value() -> None:
    prices = choice("$1,200", "12", "1,150.50", right=0)
    assert rule(prices, "That makes 1200 dollars.").score == 1.0
    assert rule(prices, "15 + 1 = 16").value is None


@pytest.mark.parametrize(
    ("prompt", "target", "answer", "score"),
    [
        # forms of one and the same answer
        ("?", "Paris", "It is paris.", 1.0),
        ("?", "Goat (animal)", "Related to goats.", 1.0),
        ("?", "Bush, George", "George Bush", 1.0),
        ("?", "The Daily Mirror", "He edits the Daily Mirror!", 1.0),
        ("?", "Franc\u0327ois", "Fran\u00e7ois Villon", 1.0),
        ("?", "Paris", "It is Parisian.", 0.0),
        ("?", "Paris", "It is not Paris.", 0.0),
        ("?", "salt & pepper", "Salt and pepper.", 1.0),
        # numbers
        ("?", "4470", "There were 4,470 of them.", 1.0),
        ("?", "3.0", "He has three.", 1.0),
        ("?", "25", "Twenty-five of them.", 1.0),
        ("?", "205", "two hundred and five", 1.0),
        ("?", "1500000", "About 1.5 million.", 1.0),
        ("?", "-4", "It was -4 degrees.", 1.0),
        ("How many years?", "32", "It was let for 32 years, with an option for five more years.", 1.0),
        ("How many years?", "5", "It was let for 32 years, with an option for five more years.", 0.0),
        ("How many years after the treaty?", "4", "Peace came in 1738, four years after the treaty of 1734.", 1.0),
        ("?", "20506", "**Active:** 14,506\n**Reserve:** 6,000\n\n**Total:** 14,506 + 6,000 = **20,506**", 1.0),
        ("?", "16", "First 10, then 6 more.\n\nTherefore, there are 10 + 6 = 16.", 1.0),
        ("?", "90", "The angle is 45 degrees.\n\nA right angle has 90 degrees.", 0.0),
        # an explanation after a short answer claims nothing
        ("?", "house", "The Senate.\n\nThe House votes first.", 0.0),
        # echoes
        ("Which word is it, in 'he brought the papers'?", "papers", "In 'he brought the papers' it is brought.", 0.0),
        ("Which word is it, in 'he brought the papers'?", "papers", "Papers", 1.0),
        ("Did more get a placebo or a vaccine?", "vaccine", "More got a placebo than got the vaccine.", 0.0),
        ("Did more get a placebo or a vaccine?", "placebo", "More got a placebo than got the vaccine.", 1.0),
        ("Are there more cases of flu or mumps?", "flu", "There are more cases of both flu and mumps.", 0.0),
        ("Were there more boats or pilots?", "pilots", "There were more pilots than boats.", 1.0),
        # yes and no
        ("?", "No", "Yes, there is no doubt.", 0.0),
        ("?", "invalid", "Therefore, the argument is not valid.", 1.0),
        ("?", "Yes", "True.", 1.0),
        ("?", "(D)", "Therefore, the answer is (D) 11/24/2019.", 1.0),
        ("?", "(D)", "Therefore, the answer is (C), not D.", 0.0),
    ],
)
def test_free_form(prompt: str, target: str, answer: str, score: float) -> None:
    assert rule(free(target, prompt=prompt), answer).score == score


def test_silence_and_a_question_of_yes_or_no_without_either_are_unparsed() -> None:
    assert rule(free("x"), " *** ").value is None
    assert rule(free("No"), "Therefore, he harmed them.").value is None


def test_numbers_are_found_with_their_values() -> None:
    text = "Of 1,204.5 kg (-3 %) about two million, minus .5 and seventy-one; x2 and 3.4.5 are none"
    assert [value for _, _, value, _ in find_numbers(text)][:5] == [1204.5, -3.0, 2e6, 0.5, 71.0]
    assert only_number("$ 4,000 ") == 4000 and only_number("four thousand") == 4000 and only_number("4 cats") is None


@pytest.mark.parametrize(
    ("split", "file", "score", "unparsed"), [("free-form", "freeform", 0.224, 4), ("multiple-choice", "multichoice", 0.37, 0)]
)
def test_real_answers_of_gemma(shared_data: Path, split: str, file: str, score: float, unparsed: int) -> None:
    questions = {q.id: q for q in load_benchmark(shared_data / "mixeval" / "2024-06-01" / "mixeval-hard")}
    path = shared_data / "mixeval" / "responses" / "gemma_11_7b_instruct" / f"gemma_11_7b_instruct_close_{file}_hard.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    parsed = [rule(questions[f"{split}/{row['id']}"], row["response"]) for row in rows]
    assert sum(p.score for p in parsed) / len(parsed) == pytest.approx(score, abs=1e-9)
    assert sum(p.value is None for p in parsed) == unparsed
