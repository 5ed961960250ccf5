"""Response files are read as upstream writes them and written as upstream reads them; whatever is wrong in one is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from data_contracts.errors import PlumblineError
from models.benchmark import load_benchmark
from models.benchmark_prompts import mixeval_prompt
from models.responses import Responses, read_responses, response_folder, write_responses
from tests.models.test_benchmark import CHOICE, FREE


def line(entry: dict[str, Any], id_: str, response: str = "an answer") -> dict[str, Any]:
    return entry | {"formated_input": "asked", "id": id_, "response": response}


def write(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_what_is_written_is_read_back_from_the_official_layout(tmp_path: Path) -> None:
    bench = tmp_path / "mixeval-2024-08-11" / "mixeval-hard"
    write(bench / "free-form.json", {"0": FREE, "7": FREE | {"prompt": "3 + 3?"}})
    write(bench / "multiple-choice.json", {"1999": CHOICE})
    questions = load_benchmark(bench)
    prompts = tuple(map(mixeval_prompt, questions))
    given = Responses("org/model", "mixeval-hard-2024-08-11", questions, prompts, ("4", "six\u2028\n", "B"))
    folder = response_folder(tmp_path / "out", given.model, given.benchmark)
    write_responses(folder, given)
    assert folder.relative_to(tmp_path / "out") == Path("org_model/mixeval_hard/2024-08-11")
    assert sorted(p.name for p in folder.iterdir()) == [
        "org_model_close_freeform_hard.jsonl",
        "org_model_close_multichoice_hard.jsonl",
    ]
    back = read_responses(tmp_path / "out")
    assert (back.model, back.benchmark) == ("org_model", given.benchmark)
    assert (back.questions, back.prompts, back.responses) == (given.questions, given.prompts, given.responses)


def test_a_line_has_upstreams_keys_in_upstreams_order(shared_data: Path, tmp_path: Path) -> None:
    theirs = shared_data / "mixeval" / "responses" / "gemma_11_7b_instruct"
    write_responses(tmp_path, read_responses(theirs))
    for path in sorted(theirs.iterdir()):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_names_carry_the_version_where_the_path_tells_it(tmp_path: Path) -> None:
    row = line(FREE, "0")
    for folder, file, name in (
        ("m/mixeval_hard/2024-06-01", "m_close_freeform_hard.jsonl", "mixeval-hard-2024-06-01"),
        ("m/mixeval/2024-08-11", "m_close_freeform.jsonl", "mixeval-2024-08-11"),
        ("m/embedded-1/unversioned", "m_close_freeform.jsonl", "embedded-1"),
        ("responses", "m_close_freeform_hard.jsonl", "mixeval-hard"),
    ):
        write(tmp_path / file[:9] / folder / file, row)
        assert read_responses(tmp_path / file[:9] / folder).benchmark == name


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["{"], r"line 1 is not valid JSON"),
        (["[" * 100_000], r"line 1 is not valid JSON"),
        ([""], "hold no answer"),
        ([line(FREE, "0"), "[]"], r"line 2: id, formated_input and response must be texts"),
        ([line(FREE, "0") | {"response": None}], "must be texts"),
        ([line(FREE, "0"), line(FREE, "0")], r"line 2: the id '0' is answered twice"),
        ([line(FREE, "0") | {"target": 4}], r"line 1: target must be a list of non-empty texts"),
        ([line(CHOICE, "0")], "problem_type is 'multiple-choice'"),
    ],
)
def test_a_line_that_is_not_as_the_format_says_is_named(tmp_path: Path, rows: list[object], message: str) -> None:
    write(tmp_path / "m_close_freeform.jsonl", *rows)
    with pytest.raises(PlumblineError, match=message):
        read_responses(tmp_path)


def test_no_files_and_the_files_of_several_evaluations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlumblineError, match="holds no response files"):
        read_responses(tmp_path / "nowhere")
    write(tmp_path / "a" / "a_close_freeform.jsonl", line(FREE, "0"))
    write(tmp_path / "b" / "b_close_freeform.jsonl", line(FREE, "0"))
    with pytest.raises(PlumblineError, match=r"2 evaluations \(a/a, b/b\)"):
        read_responses(tmp_path)


def test_a_models_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    assert response_folder(tmp_path, "../../etc", "mixeval").resolve().is_relative_to(tmp_path.resolve())
