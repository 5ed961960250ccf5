"""MixEval's files are read as they are, its prompts are reproduced to the character, and malformed files are named."""

import json
from pathlib import Path
from typing import Any

import pytest

from data_contracts.errors import PlumblineError
from models.benchmark import benchmark_name, load_benchmark
from models.benchmark_prompts import mixeval_prompt, plain_prompt

DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "mixeval"
HARD = DATA / "2024-06-01" / "mixeval-hard"
FREE = {"problem_type": "free-form", "context": None, "prompt": "2 + 2?", "target": ["4", "four"], "benchmark_name": "GSM8k"}
CHOICE = {
    "problem_type": "multiple-choice",
    "context": "Cats purr.",
    "prompt": "Who purrs?",
    "options": ["dogs", "cats"],
    "target": [1],
    "benchmark_name": "ARC",
}


def write(folder: Path, free: Any = None, choice: Any = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, entries in (("free-form", free), ("multiple-choice", choice)):
        if entries is not None:
            (folder / f"{name}.json").write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return folder


def mixeval_hard() -> Path:
    if not HARD.is_dir():
        pytest.skip(f"MixEval-Hard is not at {HARD}")
    return HARD


def test_mixeval_hard_is_read_whole_and_its_repeated_questions_are_recognised() -> None:
    questions = load_benchmark(mixeval_hard())
    contents = [[q.content for q in questions if q.split == split] for split in ("free-form", "multiple-choice")]
    assert [(len(rows), len(set(rows))) for rows in contents] == [(500, 200), (500, 246)]
    assert benchmark_name(HARD) == "mixeval-hard-2024-06-01"


@pytest.mark.parametrize(("split", "file"), [("free-form", "freeform"), ("multiple-choice", "multichoice")])
def test_prompts_equal_those_that_mixeval_stored_with_a_real_models_responses(split: str, file: str) -> None:
    questions = {q.id: q for q in load_benchmark(mixeval_hard())}
    path = DATA / "responses" / "gemma_11_7b_instruct" / f"gemma_11_7b_instruct_close_{file}_hard.jsonl"
    stored = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(stored) == 500
    differing = [r["id"] for r in stored if r["formated_input"] != mixeval_prompt(questions[f"{split}/{r['id']}"])]
    assert differing == []


def test_a_plain_prompt_is_the_question_as_it_stands(tmp_path: Path) -> None:
    free, choice = load_benchmark(write(tmp_path, {"7": FREE}, {"0": CHOICE}))
    assert (plain_prompt(free), plain_prompt(choice)) == ("2 + 2?", "Who purrs?")
    assert mixeval_prompt(free) == "Question: 2 + 2?\nAnswer the question. \nLet's think step by step."
    assert (free.id, free.target, free.right) == ("free-form/7", ("4", "four"), None)
    assert (choice.id, choice.target, choice.right) == ("multiple-choice/0", ("cats",), 1)


@pytest.mark.parametrize("context", [None, "", "  ", "None", "null"])
def test_a_context_that_says_nothing_is_left_out(tmp_path: Path, context: str | None) -> None:
    (question,) = load_benchmark(write(tmp_path, choice={"0": CHOICE | {"context": context}}))
    assert mixeval_prompt(question).startswith("Who purrs?\nA. dogs\nB. cats\n")


def test_one_split_is_enough_and_content_ignores_the_id(tmp_path: Path) -> None:
    first, second, other = load_benchmark(write(tmp_path, {"0": FREE, "1": FREE, "2": FREE | {"context": "Numbers."}}))
    assert first.content == second.content != other.content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": [2]}, r"multiple-choice\.json, id '3': target must be .* from 0 to 1"),
        ({"target": [True]}, "target must be"),
        ({"target": [0, 1]}, "target must be"),
        ({"options": ["one"], "target": [0]}, "between 2 and 26"),
        ({"options": "cats"}, "options must be a list"),
        ({"options": ["cats", 3]}, "options must be a list"),
        ({"problem_type": "free-form"}, "problem_type is 'free-form', must be 'multiple-choice'"),
        ({"prompt": " "}, "prompt and benchmark_name"),
        ({"context": 3}, "prompt and benchmark_name"),
        ({"context": "\ud83d"}, "half a surrogate pair"),
    ],
)
def test_a_malformed_question_is_named_with_its_file_and_id(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(PlumblineError, match=message) as error:
        load_benchmark(write(tmp_path, choice={"0": CHOICE, "3": CHOICE | change}))
    assert "multiple-choice.json, id '3'" in str(error.value)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlumblineError, match=r"free-form\.json, id '0': a free-form question must have target"):
        load_benchmark(write(tmp_path, {"0": {k: v for k, v in FREE.items() if k != "target"}}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "JSON object"),
        ("{}", "no questions"),
        ('{"0": 1}', "every key"),
        ('{"0": {}, "0": {}}', "'0' is given twice"),
        ('{"0": ' + "[" * 100_000, "not valid JSON .it nests too deeply"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PlumblineError, match=message):
        load_benchmark(write(tmp_path, text))


def test_an_id_that_occurs_twice_is_named(tmp_path: Path) -> None:
    """Answers are matched by id; a file of JSON lines may give one to two questions."""
    rows = [FREE | {"id": id_} for id_ in ("a", "b", "a")]
    (tmp_path / "free_form.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(PlumblineError, match="asks free-form/a 2 times"):
        load_benchmark(tmp_path)


def test_a_folder_without_questions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlumblineError, match=r"neither free-form\.json nor multiple-choice\.json"):
        load_benchmark(tmp_path)
