import json
from pathlib import Path
from typing import Any

import pytest

from data_contracts.suites import revisions
from data_contracts.suites.leak import leaks
from tests.data_contracts.given_expect import BOS, EOS, PROMPT, USER, WORD, broken_contracts, named_contracts

GOOD = {
    "sample_id": "good",
    "prompt": PROMPT,
    "prompt_ids": [BOS, USER, WORD, EOS],
    "text": "It is Bergen.",
    "token_ids": [WORD, WORD, EOS],
    "revision": "It is Oslo.",
    "revision_ids": [WORD, WORD, EOS],
    "failure": None,
}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unparsed": ({"revision": None, "revision_ids": None, "failure": "no_tag"}, "revision_parsed"),
    "failure beside a text": ({"failure": "cut"}, "revision_parsed"),
    "empty": ({"revision": "  "}, "revision_not_empty"),
    "leak": ({"revision": "Here is the corrected version: It is Oslo."}, "revision_does_not_leak"),
    "identifier": ({"revision": "The {student_solution} is Oslo."}, "revision_does_not_leak"),
    "garbled": ({"revision": "Os\x07lo"}, "revision_encoding_sane"),
    "control token": ({"revision": "Oslo<|end|>"}, "revision_has_no_control_tokens"),
    "hidden control token": ({"revision_ids": [WORD, USER, EOS]}, "revision_has_no_control_tokens"),
    "no eos": ({"revision_ids": [WORD, WORD]}, "revision_ends_with_eos"),
    "two eos": ({"revision_ids": [WORD, EOS, EOS]}, "revision_ends_with_eos"),
    "too long": ({"revision_ids": [WORD] * 8 + [EOS]}, "revision_fits_context"),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    rows = [GOOD] + [GOOD | wrong | {"sample_id": name} for name, (wrong, _) in WRONG.items()]
    rows += [GOOD | {"sample_id": "unchanged", "revision": GOOD["text"]}]
    rows += [GOOD | {"sample_id": "twice"}, GOOD | {"sample_id": "twice"}]
    return broken_contracts(revisions, rows, tmp_path_factory.mktemp("docs"))


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_row_breaks_exactly_its_contract(broken: dict[str, list[str]], name: str) -> None:
    assert broken[name] == [WRONG[name][1]]


def test_right_and_unchanged_revisions_break_nothing(broken: dict[str, list[str]]) -> None:
    assert broken["good"] == broken["unchanged"] == []


def test_every_contract_has_a_row_that_breaks_it(broken: dict[str, list[str]]) -> None:
    assert {name for names in broken.values() for name in names} == named_contracts(revisions)


@pytest.mark.parametrize(
    "revision",
    [
        "Here's a corrected and feasible approach: count upwards.",
        "In this corrected solution, we ensure that the list is sorted.",
        "Let's clarify the calculation with the corrected approach.",
        "The student forgot to carry the one, so the sum is 12.",
        "This revision makes the steps clearer.",
        "Here is a corrected version: the sum is 12.",
        "As the student says, the sum is 12.",
        "This worsened version says 12.",
        "**Revised answer:**\nThe sum is 12.",
        "I've corrected the answer so that it reads well.",
        "Unlike the original answer, this one is complete.",
        "{task}: add the numbers",
    ],
)
def test_a_revision_that_speaks_of_itself_leaks(revision: str) -> None:
    assert leaks(revision, "Add 5 and 7.", "It is 11.")


@pytest.mark.parametrize(
    ("revision", "task", "original"),
    [
        ("The Revised Standard Version appeared in 1952.", "Name a translation of the Bible.", "The King James."),
        ("The company published a revised version of the report.", "What happened in May?", "A report was published."),
        ("He corrected himself and went on.", "Tell a story.", "He went on."),
        ("Here is the corrected sentence: I go home.", "Correct the sentence: I goes home.", "I go home"),
        ("The students study in the library.", "Where do pupils read?", "In the library."),
        ("The original answer was 12.", "What was the original riddle's answer?", "12"),
        ("This improved fuel economy.", "What did the engine do?", "It saved fuel."),
    ],
)
def test_ordinary_prose_does_not_leak(revision: str, task: str, original: str) -> None:
    assert not leaks(revision, task, original)


def test_the_leaks_of_real_revisions_are_found(shared_data: Path) -> None:
    path = shared_data / "clair_gpt4_revisions.jsonl"
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        task, _, rest = row["prompt"].partition("{task}:")[2].partition("{student_solution}:")
        revision = row["raw"].partition("{corrected_student_solution}")[2]
        if leaks(revision, task, rest.partition("-----")[0]):
            found.append(number)
    assert found == [0, 2]  # "In this corrected solution, we ensure" and "Here's a corrected and feasible approach"
