"""`official-rule` gives what upstream's rule parsers give, defects and guesses included."""

import json
import random
from pathlib import Path

import pytest

from models.benchmark import Question, load_benchmark
from models.parsers import read_answers
from tests.models.questions import choice, free


def official(question: Question, response: str) -> tuple[str | None, float]:
    (parsed,) = read_answers("official-rule", [question], [response])
    return parsed.value, parsed.score


@pytest.mark.parametrize(
    ("target", "answer", "score"),
    [
        ("Paris", "The capital is Paris.", 1.0),
        ("Paris", "It is Parisian.", 1.0),  # a target inside a word counts
        ("Paris", "Paris is the capital of France.", 0.0),  # only what follows "is " is looked at
        ("Paris", "Paris", 1.0),
        ("5", "So 2 + 3 = 5", 1.0),  # "=" opens a claim in the last line only
        ("4470", "There were 4,470 of them", 1.0),
        ("3.14159", "pi is 3.141", 1.0),  # two decimals
        ("x", "The answer is x", 1.0),
        ("No", "I do not know", 1.0),
    ],
)
def test_a_free_form_claim_is_cut_and_searched_as_upstream_does(target: str, answer: str, score: float) -> None:
    assert official(free(target), answer)[1] == score


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("B", "London"),
        ("B. London", "London"),
        ("**B. London**", "London"),
        ("I think (B)", "London"),
        ("A or B", "Paris"),  # the first one found
        ("I would say that it is London for sure", "London"),
        ("**B**", None),
        ("**B.**\n\nBecause it is.", None),
        ("London", None),  # the text of an option counts in longer answers only
        ("", None),
    ],
)
def test_a_choice_is_found_by_upstreams_patterns_only(answer: str, value: str | None) -> None:
    assert official(choice("Paris", "London", right=1), answer)[0] == value


def test_an_unread_choice_is_drawn_with_upstreams_seed_and_still_counts_as_unparsed() -> None:
    questions = [choice("a1", "a2", "a3", right=2)] * 40
    read = read_answers("official-rule", questions, ["?"] * 40)
    letters = random.Random(42)
    expected = [letters.choice("ABC") for _ in range(40)]
    assert [parsed.raw for parsed in read] == expected
    assert [parsed.score for parsed in read] == [float(letter == "C") for letter in expected]
    assert all(parsed.value is None for parsed in read)


@pytest.mark.parametrize(
    ("split", "file", "mean", "unparsed"), [("free-form", "freeform", 0.204, 0), ("multiple-choice", "multichoice", 0.354, 47)]
)
def test_real_answers_of_gemma_score_what_upstream_scores(
    shared_data: Path, split: str, file: str, mean: float, unparsed: int
) -> None:
    questions = {q.id: q for q in load_benchmark(shared_data / "mixeval" / "2024-06-01" / "mixeval-hard")}
    path = shared_data / "mixeval" / "responses" / "gemma_11_7b_instruct" / f"gemma_11_7b_instruct_close_{file}_hard.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    asked = [questions[f"{split}/{row['id']}"] for row in rows]
    read = read_answers("official-rule", asked, [row["response"] for row in rows])
    assert sum(parsed.score for parsed in read) / len(read) == pytest.approx(mean, abs=1e-12)
    assert sum(parsed.value is None for parsed in read) == unparsed
