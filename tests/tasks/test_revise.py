"""Revising: every sample is asked about once, and every reply is accounted for."""

from pathlib import Path

import pytest

from data_contracts.config_pairs import ReviseConfig
from data_contracts.errors import PlumblineError
from data_contracts.store import build
from models.chat import encode_answer, encode_prompt
from models.checkpoint import load_tokenizer
from models.engine import quiet
from models.journal import Reply
from models.teacher import Teacher
from tasks.revise import revise

CONFIG = ReviseConfig(template="brief-1", temperature=0.0, max_tokens=60)
REPLIES = {  # by the policy's answer
    "two and two is five": Reply("{teacher_reasoning}: 2 + 2 = 4. {corrected_student_solution}: two and two is four", "stop"),
    "fine": Reply("{teacher_reasoning}: Right. {corrected_student_solution}: fine ", "stop"),
    "bad": Reply("I do not know.", "stop"),
    "": Reply("{teacher_reasoning}: Empty. {corrected_student_solution}: four", "stop"),
    "long": Reply("{teacher_reasoning}: And so on and", "length"),
    "```\nx\n```": Reply("{corrected_student_solution}:\n```\ny\n```", "stop"),
}


@pytest.fixture
def tokenizer(tiny):
    return load_tokenizer(tiny.path)


@pytest.fixture
def samples(tmp_path, tokenizer):
    rows = []
    for i, text in enumerate(REPLIES):
        prompt = [{"role": "user", "content": f"Question {i}?"}]
        ids = encode_answer(tokenizer, text)
        rows.append(
            {
                "sample_id": f"p{i}/0",
                "prompt_id": f"p{i}",
                "prompt": prompt,
                "prompt_ids": encode_prompt(tokenizer, prompt),
                "index": 0,
                "text": text,
                "token_ids": ids if text != "long" else ids[:-1],
                "finish_reason": "stop" if text != "long" else "length",
                "stopped": text != "long",
                "seed": i,
                "policy": "policyhash",
            }
        )
    return build(tmp_path / "sample", "samples", {}, lambda _: (rows, {}))


def reviser(asked):
    """A teacher that answers from the table above, by what it is shown as the student's solution."""

    def complete(conversations, sampling, seed, progress):
        asked.extend(c[0]["content"] for c in conversations)
        return [REPLIES[c[0]["content"].split("{student_solution}: ")[1].rsplit("\n", 1)[0]] for c in conversations]

    return Teacher("teacherhash", complete)


def test_each_sample_gets_one_row_with_its_own_columns(tmp_path, samples, tiny):
    asked = []
    made = revise(tmp_path / "revise", samples, CONFIG, reviser(asked), tiny, 0, quiet)
    assert len(asked) == len(REPLIES) == made.rows
    kept = ("sample_id", "prompt_id", "prompt", "prompt_ids", "text", "token_ids", "stopped", "policy")
    assert [{k: r[k] for k in kept} for r in made.records()] == [{k: r[k] for k in kept} for r in samples.records()]
    assert asked[0].startswith("{task}: Question 0? {student_solution}: two and two is five\n")


def test_revisions_are_whole_answers_in_the_policys_tokens(tmp_path, samples, tiny, tokenizer):
    rows = revise(tmp_path / "revise", samples, CONFIG, reviser([]), tiny, 0, quiet).records()
    assert [r["revision"] for r in rows] == ["two and two is four", "fine", None, "four", None, "```\ny\n```"]
    assert [r["failure"] for r in rows] == [None, None, "missing_identifier", None, "cut", None]
    assert rows[0]["reasoning"] == "2 + 2 = 4."
    for row in rows:
        assert row["raw"] == REPLIES[row["text"]].text and row["teacher"] == "teacherhash"
        if row["revision"] is None:
            assert row["revision_ids"] is None
        else:
            assert row["revision_ids"] == encode_answer(tokenizer, row["revision"])
            assert row["revision_ids"].count(tokenizer.eos_token_id) == 1


def test_facts_account_for_every_reply(tmp_path, samples, tiny):
    facts = revise(tmp_path / "revise", samples, CONFIG, reviser([]), tiny, 0, quiet).facts
    assert (facts["samples"], facts["parsed"], facts["changed"], facts["unchanged"]) == (6, 4, 3, 1)
    assert facts["failures"] == {"missing_identifier": 1, "cut": 1}


def test_a_finished_dataset_asks_nobody_and_another_teacher_is_refused(tmp_path, samples, tiny):
    first = revise(tmp_path / "revise", samples, CONFIG, reviser([]), tiny, 0, quiet)
    asked = []
    again = revise(tmp_path / "revise", samples, CONFIG, reviser(asked), tiny, 0, quiet)
    assert (again.key, asked) == (first.key, [])
    with pytest.raises(PlumblineError, match="other inputs or settings"):
        revise(tmp_path / "revise", samples, CONFIG, Teacher("another", reviser([]).complete), tiny, 0, quiet)


def test_a_judges_template_is_refused_before_anybody_is_asked(tmp_path, samples, tiny):
    asked = []
    with pytest.raises(PlumblineError, match="'pairwise-1' is filled from"):
        revise(tmp_path / "revise", samples, ReviseConfig(template="pairwise-1"), reviser(asked), tiny, 0, quiet)
    assert asked == [] and not Path(tmp_path / "revise").exists()


def test_the_rubric_of_the_config_is_what_the_teacher_reads(tmp_path, samples, tiny):
    asked = []

    def complete(conversations, sampling, seed, progress):
        asked.extend(c[0]["content"] for c in conversations)
        return [Reply("", "stop")] * len(conversations)

    config = ReviseConfig(template="rubric-1", rubric="1. Name {corrected_student_solution} never.\n2. Be brief.")
    revise(tmp_path / "revise", samples, config, Teacher("t", complete), tiny, 0, quiet)
    assert len(asked) == 6 and all("{rubric}: 1. Name (corrected_student_solution) never.\n2. Be brief.\n" in a for a in asked)
    for wrong in (ReviseConfig(template="rubric-1"), ReviseConfig(template="minimal-1", rubric="Be brief.")):
        with pytest.raises(PlumblineError, match=r"is filled from .* but is used here with"):
            revise(tmp_path / "other", samples, wrong, Teacher("t", complete), tiny, 0, quiet)


def test_a_worse_copy_is_a_revision_like_any_other(tmp_path, samples, tiny):
    reply = Reply("{teacher_reasoning}: Add a slip.\n\n{worsened_student_solution}: two and two is six", "stop")
    teacher = Teacher("t", lambda conversations, *_: [reply] * len(conversations))
    rows = revise(tmp_path / "worsen", samples, ReviseConfig(template="worsen-1"), teacher, tiny, 0, quiet).records()
    assert {(r["revision"], r["failure"]) for r in rows} == {("two and two is six", None)}


@pytest.mark.engine
def test_the_embedded_teacher_revises_the_embedded_students_way(tmp_path, engine, teacher, student):
    from models.journal import Journal
    from models.teacher import local_teacher

    tokenizer = load_tokenizer(student.path)
    prompt = [{"role": "user", "content": "What is 12 plus 31?"}]
    row = {
        "sample_id": "a/0",
        "prompt_id": "a",
        "prompt": prompt,
        "prompt_ids": encode_prompt(tokenizer, prompt),
        "index": 0,
        "text": "I think that 12 plus 31 is 42.",
        "token_ids": encode_answer(tokenizer, "I think that 12 plus 31 is 42."),
        "finish_reason": "stop",
        "stopped": True,
        "seed": 0,
        "policy": student.hash,
    }
    samples = build(tmp_path / "sample", "samples", {}, lambda _: ([row], {}))
    local = local_teacher(lambda: engine, teacher, Journal(tmp_path / "journal.db"))
    made = revise(tmp_path / "revise", samples, CONFIG, local, student, 0, quiet)
    assert made.records()[0]["revision"] == "I think that 12 plus 31 is 43."
    assert made.facts["failures"] == {}
