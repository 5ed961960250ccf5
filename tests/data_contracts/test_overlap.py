"""Prompts that stand in an evaluation set are found, however they are dressed, and others are not."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.config_validate import ContaminationConfig
from data_contracts.overlap import EvaluationTexts
from data_contracts.suites import pairs, prompts
from models.transcripts import parse_transcript
from tasks.contamination import evaluation_texts
from tests.data_contracts.given_expect import LIMITS, broken_contracts
from tests.data_contracts.test_suites_pairs import GOOD

LONG = "The river rises in the hills above the town and runs for forty miles to the sea past two old mills"
TEXTS = EvaluationTexts(["What is the capital of Levania?", LONG], ngram=13, similarity=0.8)
WITH_EVALUATION = replace(LIMITS, evaluation=TEXTS)


def kind(text: str) -> str | None:
    hit = TEXTS.hit(text)
    return hit.kind if hit else None


def test_equal_text_is_found_whatever_its_case_and_punctuation() -> None:
    assert kind("what is the CAPITAL of  Levania") == "equal"
    assert kind("What is the capital of Mararia?") is None


def test_a_run_of_equal_words_is_found_within_other_text() -> None:
    assert kind(f"Please explain this: {' '.join(LONG.split()[4:17])}, and why?") == "run"
    assert kind(f"Please explain this: {' '.join(LONG.split()[4:16])}, and why?") is None  # twelve words are one too few


def test_a_rewording_is_found_by_likeness() -> None:
    reworded = LONG.replace("river", "stream").replace("mills", "weirs")
    short_runs = EvaluationTexts([LONG], ngram=40, similarity=0.6)
    hit = short_runs.hit(reworded)
    assert hit is not None and hit.kind == "similar" and 0.6 <= hit.share < 1
    assert short_runs.hit("Bread needs flour and water and salt and time more than anything else and an oven") is None


def test_what_people_ask_is_not_taken_for_mixevals_questions_and_those_are(shared_data: Path) -> None:
    """The runs and likenesses of real questions are seldom by chance: nothing that people asked is set aside."""
    (folder,) = (shared_data / "mixeval").rglob("mixeval-hard")
    texts = evaluation_texts(str(folder), ContaminationConfig())
    with gzip.open(shared_data / "hh_harmless_test.jsonl.gz", "rt") as lines:
        told = [parse_transcript(json.loads(line)["chosen"]) or [] for line, _ in zip(lines, range(700), strict=False)]
    asked = [message["content"] for conversation in told for message in conversation if message["role"] == "user"]
    assert len(asked) > 1500 and not [text for text in asked if texts.hit(text)]
    questions = [text for text in texts.texts if len(text.split()) > 30][:50]
    assert all(texts.hit(f"Tell me: {' '.join(text.split()[5:25])}?") for text in questions)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_may_be_asked(text: str) -> None:
    hit = EvaluationTexts([text, LONG], ngram=3, similarity=0.9).hit(text)
    assert hit is None or hit.kind == "equal"
    assert (hit is None) == (not any(c.isalnum() or c == "_" for c in text))


def frame() -> pd.DataFrame:
    asked = ["What is the capital of Levania?", "Who wrote this?"]
    return pd.DataFrame([{"prompt_id": f"p{i}", "prompt": [{"role": "user", "content": text}]} for i, text in enumerate(asked)])


def test_the_gate_sets_contaminated_prompts_aside_and_says_where_they_stand(tmp_path: Path) -> None:
    rows = frame().to_dict("records")
    assert broken_contracts(prompts, rows, tmp_path, WITH_EVALUATION) == {"p0": ["prompt_not_in_evaluation"], "p1": []}
    assert broken_contracts(prompts, rows, tmp_path, LIMITS) == {"p0": [], "p1": []}
    (found,) = prompts.evidence(frame(), WITH_EVALUATION)
    assert (found["prompt_id"], found["kind"], found["text"]) == ("p0", "equal", "What is the capital of Levania?")


def test_pairs_from_a_file_are_held_against_the_evaluation_too(tmp_path: Path) -> None:
    rows = [GOOD, GOOD | {"pair_id": "known", "prompt": frame()["prompt"][0], "chosen": "Miloton.", "rejected": "Tiziville."}]
    assert broken_contracts(pairs, rows, tmp_path, WITH_EVALUATION) == {"good": [], "known": ["prompt_not_in_evaluation"]}


WRONG = {
    "assistant last": ([{"role": "assistant", "content": "x"}], "conversation_alternates"),
    "empty": ([{"role": "user", "content": " "}], "conversation_has_text"),
}


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_prompt_breaks_exactly_its_contract(tmp_path: Path, name: str) -> None:
    rows = [{"prompt_id": name, "prompt": WRONG[name][0]}]
    assert broken_contracts(prompts, rows, tmp_path, LIMITS) == {name: [WRONG[name][1]]}


def test_an_id_that_occurs_twice_is_told(tmp_path: Path) -> None:
    rows = [{"prompt_id": "p", "prompt": [{"role": "user", "content": text}]} for text in ("a", "b")]
    assert broken_contracts(prompts, rows, tmp_path, LIMITS) == {"p": ["prompt_id_unique"]}
