"""Answers of other models: whose they are, in whose tokens, and what is missing is counted."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from data_contracts.config_pairs import SampleConfig
from data_contracts.errors import PlumblineError
from data_contracts.store import Dataset, build
from models.chat import encode_answer, encode_prompt
from models.checkpoint import Checkpoint, load_tokenizer
from models.engine import Completion
from models.journal import Reply
from models.teacher import Teacher
from tasks.sample_others import Writer, checkpoint_writer, file_writer, sample_others, teacher_writer

QUESTIONS = ("What is 1 plus 2?", "Why?", "How?")


@pytest.fixture
def prompts(tmp_path: Path) -> Dataset:
    rows = [{"prompt_id": f"p{i}", "prompt": [{"role": "user", "content": text}]} for i, text in enumerate(QUESTIONS)]
    return build(tmp_path / "prompts", "prompts", {}, lambda _: (rows, {}))


def made(tmp_path: Path, prompts: Dataset, tiny: Checkpoint, *writers: Writer) -> Dataset:
    return sample_others(tmp_path / "others", prompts, SampleConfig(max_tokens=9), writers, tiny, 0)


def replying(*replies: Reply) -> Teacher:
    return Teacher("teacher", lambda conversations, sampling, seed, progress: list(replies))


def test_a_teachers_answers_are_encoded_for_the_policy_and_cut_ones_carry_no_end(
    tmp_path: Path, prompts: Dataset, tiny: Checkpoint
) -> None:
    tokenizer = load_tokenizer(tiny.path)
    replies = (Reply("three", "stop"), Reply("because of", "length"), Reply("", "content_filter"))
    data = made(tmp_path, prompts, tiny, teacher_writer(replying(*replies), 1.5, 0))
    whole, cut = data.records()
    assert whole["token_ids"] == encode_answer(tokenizer, "three") and whole["stopped"]
    assert cut["token_ids"] == encode_answer(tokenizer, "because of")[:-1] and not cut["stopped"]
    assert whole["prompt_ids"] == encode_prompt(tokenizer, whole["prompt"])
    assert (whole["policy"], whole["index"], data.facts["missing"]) == ("teacher", 0, {"0: content_filter": 1})
    assert data.facts["teacher_0"]["calls"] == 3


def test_text_that_spells_a_control_token_stays_text(tmp_path: Path, prompts: Dataset, tiny: Checkpoint) -> None:
    tokenizer = load_tokenizer(tiny.path)
    forged = f"three{tokenizer.eos_token}six"
    (row, *_) = made(tmp_path, prompts, tiny, teacher_writer(replying(*[Reply(forged, "stop")] * 3), 0.0, 0)).records()
    assert row["token_ids"].count(tokenizer.eos_token_id) == 1


class _Engine:
    """Answers every prompt with the same completion; its tokenizer may be another model's."""

    def __init__(self, tokenizer: Any, completion: Completion) -> None:
        self.tokenizer, self.completion = tokenizer, completion

    def use(self, checkpoint: Checkpoint) -> None:
        self.used = checkpoint

    def generate(self, prompts: Any, sampling: Any, seeds: Any, progress: Any) -> list[Completion]:
        self.sampling = sampling
        return [self.completion] * len(prompts)


def test_a_prompt_that_a_template_refuses_is_named(tmp_path: Path, prompts: Dataset, tiny: Checkpoint) -> None:
    refusing = Checkpoint(shutil.copytree(tiny.path, tmp_path / "strict"), "strict")
    template = refusing.path / "chat_template.jinja"
    refuse = "{% if messages[0].content == 'What is 1 plus 2?' %}{{ raise_exception('no sums') }}{% endif %}"
    template.write_text(refuse + template.read_text())
    nobody = Writer("nobody", 0.0, lambda rows, *_: [None] * len(rows))
    with pytest.raises(PlumblineError, match=r"prompt 'p0' does not fit the policy's chat template \(no sums\)"):
        made(tmp_path, prompts, refusing, nobody)
    engine = _Engine(load_tokenizer(refusing.path), Completion("", [], "stop"))
    with pytest.raises(PlumblineError, match="prompt 'p0' does not fit strict's chat template"):
        made(tmp_path, prompts, tiny, checkpoint_writer(refusing, 0.0, engine))  # type: ignore[arg-type]


def test_answers_found_under_other_prompts_are_another_dataset(tmp_path: Path, prompts: Dataset, tiny: Checkpoint) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({"a": "Why?", "b": "How?", "said": "so"}) + "\n")
    keys = {made(tmp_path / key, prompts, tiny, file_writer(path, key, "said", "d")).key for key in ("a", "b")}
    assert len(keys) == 2


@pytest.mark.parametrize("is_shared", [True, False])
def test_a_samplers_own_ids_travel_only_where_the_tokenizer_is_the_policys(
    tmp_path: Path, prompts: Dataset, tiny: Checkpoint, is_shared: bool
) -> None:
    tokenizer, other = load_tokenizer(tiny.path), load_tokenizer(tiny.path)
    if not is_shared:
        other.add_tokens(["zzz"])
    unusual = [*tokenizer("three", add_special_tokens=False)["input_ids"][:1] * 2, tokenizer.eos_token_id]
    engine = _Engine(other, Completion("three", unusual, "stop"))
    writer = checkpoint_writer(Checkpoint(tiny.path, "another"), 1.2, engine)  # type: ignore[arg-type]
    (row, *_) = made(tmp_path, prompts, tiny, writer).records()
    assert row["token_ids"] == (unusual if is_shared else encode_answer(tokenizer, "three"))
    assert (row["policy"], engine.used.hash, engine.sampling.temperature) == ("another", "another", 1.2)


def test_recorded_answers_are_found_by_their_prompt(tmp_path: Path, prompts: Dataset, tiny: Checkpoint) -> None:
    lines: list[Any] = [
        {"q": "Why?", "by": {"m": "so"}},
        {"q": QUESTIONS[0], "by": {"m": "3"}},
        {"q": "Why?", "by": {"m": "later"}},
        {"q": "How?"},
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + "\n")
    data = made(tmp_path, prompts, tiny, file_writer(path, "q", "by.m", "d1"), file_writer(path, "q", "by.m", "d2"))
    assert [(r["prompt_id"], r["text"], r["index"]) for r in data.records()] == [
        ("p0", "3", 0),
        ("p1", "so", 0),
        ("p0", "3", 1),
        ("p1", "so", 1),
    ]
    assert data.facts["missing"] == {"0: no answer": 1, "1: no answer": 1}
    assert len({r["sample_id"] for r in data.records()}) == 4
    for line, said in (("{", r"answers\.jsonl:1 is not JSON"), ('{"q": "Why?", "by": {"m": "\\ud800"}}', ":1 contains half")):
        path.write_text(f"{line}\n")
        with pytest.raises(PlumblineError, match=said):
            made(tmp_path / "again", prompts, tiny, file_writer(path, "q", "by.m", "d1"))
