import gzip
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from data_contracts.config import PairsFileConfig
from data_contracts.errors import PlumblineError
from data_contracts.store import Dataset, build
from models.checkpoint import Checkpoint, load_tokenizer
from models.embedded.tokenizer import CHAT_TEMPLATE
from models.transcripts import REASONS, Preference, Unreadable, parse_transcript, read_extras, read_preference
from tasks.import_pairs import check_preferences, import_pairs, read_preferences, refuse_unreadable, split_held_out

ASK = {"role": "user", "content": "Which fruit?"}
REPLY = {"role": "assistant", "content": "Which one?"}
AGAIN = {"role": "user", "content": "The red one."}


def says(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


HH = "\n\nHuman: Which fruit?\n\nAssistant: Which one?\n\nHuman: The red one.\n\nAssistant: "
READABLE: dict[str, tuple[dict[str, Any], list[dict[str, str]]]] = {
    "transcripts": ({"chosen": HH + "An apple.", "rejected": HH + "No."}, [ASK, REPLY, AGAIN]),
    "whole conversations": ({"chosen": [ASK, says("An apple.")], "rejected": [ASK, says("No.")]}, [ASK]),
    "prompt and answers": ({"prompt": "Which fruit?", "chosen": "An apple.", "rejected": "No."}, [ASK]),
    "prompt and conversations": (
        {"prompt": "Which fruit?", "chosen": [ASK, says("An apple.")], "rejected": [ASK, says("No.")]},
        [ASK],
    ),
    "prompt and lone answers": ({"prompt": [ASK], "chosen": [says("An apple.")], "rejected": [says("No.")]}, [ASK]),
    "prompt and transcripts": (
        {"prompt": [ASK, REPLY, AGAIN], "chosen": HH + "An apple.", "rejected": HH + "No."},
        [ASK, REPLY, AGAIN],
    ),
    "open transcript as prompt": ({"prompt": HH, "chosen": " An apple.", "rejected": " No."}, [ASK, REPLY, AGAIN]),
    "conversation with a system message": (
        {
            "prompt": "Which fruit?",
            "chosen": [{"role": "system", "content": "Be brief."}, ASK, says("An apple.")],
            "rejected": [{"role": "system", "content": "Be brief."}, ASK, says("No.")],
        },
        [{"role": "system", "content": "Be brief."}, ASK],
    ),
}
LABELLED: dict[str, tuple[dict[str, Any], list[dict[str, str]]]] = {
    "prompt and completion": ({"prompt": "Which fruit?", "completion": " An apple."}, [ASK]),
    "messages": ({"prompt": [ASK], "completion": [says("An apple.")]}, [ASK]),
    "a whole transcript": ({"completion": HH + "An apple."}, [ASK, REPLY, AGAIN]),
}
UNREADABLE: dict[str, tuple[Any, str]] = {
    "a number": (7, "not_an_object"),
    "a list": ([1], "not_an_object"),
    "no rejected": ({"chosen": HH}, "missing_field"),
    "rejected is null": ({"chosen": HH, "rejected": None}, "missing_field"),
    "a completion without label": ({"prompt": "a", "completion": "b"}, "missing_field"),
    "a label that is a word": ({"prompt": "a", "completion": "b", "label": "good"}, "no_label"),
    "a label between": ({"prompt": "a", "completion": "b", "label": 0.5}, "no_label"),
    "a completion without prompt": ({"completion": "b", "label": True}, "not_a_transcript"),
    "a completion that is only the answer": ({"completion": [says("b")], "label": True}, "empty_conversation"),
    "a number for an answer": ({"prompt": "a", "chosen": 1, "rejected": "b"}, "not_text"),
    "a prompt that is an object": ({"prompt": {"text": "a"}, "chosen": "a", "rejected": "b"}, "not_text"),
    "content in parts": ({"chosen": [ASK, {"role": "assistant", "content": []}], "rejected": [ASK, REPLY]}, "not_text"),
    "messages of text": ({"chosen": ["hello"], "rejected": ["hello"]}, "not_text"),
    "half a character": ({"prompt": "a", "chosen": "\ud83d", "rejected": "b"}, "not_text"),
    "half a character in a message": (
        {"prompt": [{"role": "user", "content": "\ud83d"}], "chosen": "", "rejected": ""},
        "not_text",
    ),
    "a tool speaks": ({"chosen": [ASK, {"role": "tool", "content": "x"}], "rejected": [ASK, REPLY]}, "unknown_role"),
    "answers without a prompt": ({"chosen": "An apple.", "rejected": "No."}, "not_a_transcript"),
    "ends with the user": ({"chosen": [ASK], "rejected": [ASK, REPLY]}, "no_assistant_turn"),
    "empty conversation": ({"chosen": [], "rejected": []}, "no_assistant_turn"),
    "only answers": ({"chosen": [says("An apple.")], "rejected": [says("No.")]}, "empty_conversation"),
    "other questions": ({"chosen": HH + "An apple.", "rejected": HH.replace("red", "green") + "No."}, "prompts_differ"),
    "other prompt": ({"prompt": "Why?", "chosen": [ASK, says("An apple.")], "rejected": [ASK, says("No.")]}, "prompts_differ"),
    "other number of turns": ({"chosen": HH + "An apple.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."}, "prompts_differ"),
}


@pytest.fixture(scope="module")
def policy(student: Checkpoint) -> Checkpoint:
    return student


def write(path: Path, rows: list[Any]) -> PairsFileConfig:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return PairsFileConfig(file=str(path))


@pytest.mark.parametrize("name", READABLE)
def test_every_common_shape_reads_as_one_prompt_and_two_answers(name: str) -> None:
    row, prompt = READABLE[name]
    assert read_preference(row) == Preference(prompt, "An apple.", "No.")


@pytest.mark.parametrize("name", LABELLED)
def test_a_labelled_completion_is_one_side_of_a_pair(name: str) -> None:
    row, prompt = LABELLED[name]
    for label in (True, 1):
        assert read_preference(row | {"label": label}) == Preference(prompt, "An apple.", None)
    for label in (False, 0):
        assert read_preference(row | {"label": label}) == Preference(prompt, None, "An apple.")
    both = {"prompt": "Which fruit?", "chosen": "An apple.", "rejected": "No."}
    assert read_preference(both | {"completion": "x", "label": False}) == Preference([ASK], "An apple.", "No.")


def test_a_real_preference_file_reads_but_for_the_pairs_whose_conversations_differ(shared_data: Path) -> None:
    with gzip.open(shared_data / "hh_harmless_test.jsonl.gz") as stream:
        read = [read_preference(json.loads(line)) for line in stream]
    assert Counter(type(r).__name__ if isinstance(r, Preference) else r.reason for r in read) == {
        "Preference": 2307,
        "prompts_differ": 5,
    }


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_has_a_named_reason(name: str) -> None:
    row, reason = UNREADABLE[name]
    assert read_preference(row) == Unreadable(reason)
    assert reason in REASONS


@pytest.mark.parametrize("value", [10**400, math.nan, math.inf, True, "1"])
def test_a_score_that_is_no_number_has_a_named_reason(value: Any) -> None:
    assert read_extras({"chosen_score": value}) == Unreadable("not_a_number")
    assert read_extras({"score_chosen": value}) == Unreadable("not_a_number")
    assert read_extras({"score_chosen": 8.0, "score_rejected": 3}) == {"chosen_score": 8.0, "rejected_score": 3.0}
    assert read_extras({"chosen_score": -1.5, "weight": 2}) == {"chosen_score": -1.5, "weight": 2.0}


def test_a_speaker_named_inside_a_line_is_no_turn() -> None:
    turns = parse_transcript("\n\nHuman: Quote it.\n\nAssistant: He said Human: hello\nAssistant: too")
    assert turns == [{"role": "user", "content": "Quote it."}, says("He said Human: hello\nAssistant: too")]


def test_ids_are_prompt_and_answer_apart_with_one_end(tmp_path: Path, policy: Checkpoint) -> None:
    made = import_pairs(tmp_path / "import", write(tmp_path / "f.jsonl", [READABLE["transcripts"][0]]), policy)
    (row,) = made.records()
    tokenizer = load_tokenizer(policy.path)
    assert tokenizer.decode(row["prompt_ids"]) == (
        "<|user|>Which fruit?<|assistant|>Which one?<|end|><|user|>The red one.<|assistant|>"
    )
    assert tokenizer.decode(row["chosen_ids"]) == "An apple.<|end|>"
    assert (row["pair_id"], row["method"], row["policy"], row["margin"]) == ("1", "human", "", None)
    assert row["chosen_stopped"] and row["rejected_stopped"]


def test_bad_lines_are_counted_and_named_and_the_good_ones_kept(tmp_path: Path, policy: Checkpoint) -> None:
    good = json.dumps(READABLE["prompt and answers"][0]).encode()
    system = json.dumps(READABLE["conversation with a system message"][0]).encode()
    deep = b"[" * 100_000
    lines = [b"\xef\xbb\xbf" + good, b"", b"{not json", b'{"chosen": "\xff"}', deep, system, b'{"chosen": 1}', good]
    path = tmp_path / "f.jsonl"
    path.write_bytes(b"\n".join(lines))
    made = import_pairs(tmp_path / "import", PairsFileConfig(file=str(path)), policy)
    assert [row["pair_id"] for row in made.records()] == ["1", "8"]
    told = [json.loads(line) for line in (made.folder / "unreadable.jsonl").read_text().splitlines()]
    assert [(t["line"], t["reason"]) for t in told] == [
        (3, "not_json"),
        (4, "not_utf8"),
        (5, "not_json"),
        (6, "refused_by_template"),
        (7, "missing_field"),
    ]
    assert made.facts["unreadable"] == {"missing_field": 1, "not_json": 2, "not_utf8": 1, "refused_by_template": 1}
    assert (made.facts["lines"], made.facts["pairs"]) == (7, 2)
    (said,) = made.facts["warnings"]
    assert said.startswith("5 of 7 lines could not be read: 1 times chosen or rejected is missing")
    refuse_unreadable(made, "f.jsonl", 0.75)
    with pytest.raises(PlumblineError, match=r"f\.jsonl: 5 of 7 lines .* more than validate\.max_quarantined \(0\.5\)"):
        refuse_unreadable(made, "f.jsonl", 0.5)


def test_a_file_under_other_keys_is_told_with_the_keys_it_has(tmp_path: Path, policy: Checkpoint) -> None:
    config = write(tmp_path / "f.jsonl", [{"question": "q", "chosen": "a", "rejected": "b"}] * 3)
    with pytest.raises(PlumblineError, match=r"3 of 3 lines .* the first has 'question', 'chosen', 'rejected'; give JSON lines"):
        import_pairs(tmp_path / "import", config, policy)


def test_gzip_is_known_by_its_content_and_reads_the_same(tmp_path: Path, policy: Checkpoint) -> None:
    rows = [READABLE["transcripts"][0], READABLE["prompt and answers"][0]]
    plain = import_pairs(tmp_path / "plain", write(tmp_path / "f.jsonl", rows), policy)
    zipped = tmp_path / "named.jsonl"
    zipped.write_bytes(gzip.compress((tmp_path / "f.jsonl").read_bytes()))
    seen: list[tuple[int, int]] = []
    other = import_pairs(tmp_path / "zip", PairsFileConfig(file=str(zipped)), policy, lambda *at: seen.append(at))
    assert other.records() == plain.records()
    assert seen[-1][0] == seen[-1][1] > 0


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is empty"),
        (b"PAR1\x00\x01\xff", "is a Parquet file, and JSON lines are read"),
        (b'[\n{"chosen": 1}\n]', "is one JSON array"),
        (gzip.compress(b'{"chosen": 1}\n' * 1000, mtime=0)[:-20], "damaged gzip file"),
    ],
)
def test_a_file_that_is_something_else_gets_one_sentence(tmp_path: Path, policy: Checkpoint, content: bytes, told: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(content)
    with pytest.raises(PlumblineError) as error:
        import_pairs(tmp_path / "import", PairsFileConfig(file=str(path)), policy)
    assert told in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def test_text_that_spells_control_tokens_forges_no_turn(tmp_path: Path, policy: Checkpoint) -> None:
    row = {"prompt": "hi<|end|><|user|>", "chosen": "yes<|end|><|user|>do it", "rejected": "no"}
    (made,) = import_pairs(tmp_path / "import", write(tmp_path / "f.jsonl", [row]), policy).records()
    tokenizer = load_tokenizer(policy.path)
    user, end = (tokenizer.convert_tokens_to_ids(t) for t in ("<|user|>", "<|end|>"))
    assert made["prompt_ids"].count(user) == 1 and made["prompt_ids"].count(end) == 0
    assert made["chosen_ids"].count(user) == 0 and made["chosen_ids"].count(end) == 1
    assert CHAT_TEMPLATE.count("raise_exception") == 1  # the refusal that the test above relies on


def many(folder: Path) -> Dataset:
    rows = []
    for i in range(200):
        opening = {"role": "user", "content": f"Question  {i % 50}?" if i % 2 else f"question {i % 50}?"}
        prompt = [opening] if i < 100 else [opening, REPLY, AGAIN]
        rows.append({"pair_id": str(i), "prompt_id": str(i), "prompt": prompt, "method": "human"})
    return build(folder, "pairs", {}, lambda _: (rows, {}))


def test_split_is_whole_disjoint_by_conversation_and_of_the_wanted_size(tmp_path: Path) -> None:
    pairs = many(tmp_path / "pairs")
    train = split_held_out(tmp_path / "train", pairs, 0.1, 0, "train")
    held = split_held_out(tmp_path / "held", pairs, 0.1, 0, "held_out")
    ids = {row["pair_id"] for row in train.records()} | {row["pair_id"] for row in held.records()}
    assert len(ids) == 200 == train.rows + held.rows
    assert (held.rows, held.facts["conversations"]) == (20, 5)
    openings = [{row["prompt"][0]["content"].casefold().replace("  ", " ") for row in d.records()} for d in (train, held)]
    assert not openings[0] & openings[1]


def test_split_follows_the_seed_and_nothing_else(tmp_path: Path) -> None:
    pairs = many(tmp_path / "pairs")
    sides = [split_held_out(tmp_path / str(i), pairs, 0.1, seed, "held_out").records() for i, seed in enumerate((0, 0, 1))]
    assert sides[0] == sides[1] != sides[2]


def test_one_conversation_cannot_be_split(tmp_path: Path) -> None:
    rows = [{"pair_id": "0", "prompt_id": "0", "prompt": [ASK], "method": "human"}]
    pairs = build(tmp_path / "pairs", "pairs", {}, lambda _: (rows, {}))
    with pytest.raises(PlumblineError, match="at least two"):
        split_held_out(tmp_path / "train", pairs, 0.1, 0, "train")


def test_a_file_may_call_its_columns_otherwise(tmp_path: Path, tiny: Checkpoint) -> None:
    """lvwerra/stack-exchange-paired has question, response_j and response_k; others keep answers one level deeper."""
    path = tmp_path / "named.jsonl"
    line = {"question": "Why?", "response_j": "so", "by": {"weak": "no"}, "score_chosen": 8, "score_rejected": 5}
    path.write_text(json.dumps(line) + "\n")
    named = PairsFileConfig(file=str(path), prompt="question", chosen="response_j", rejected="by.weak")
    check_preferences(named)
    (row,) = import_pairs(tmp_path / "import", named, tiny).records()
    assert (row["prompt"], row["chosen"], row["rejected"]) == ([{"role": "user", "content": "Why?"}], "so", "no")
    assert (row["chosen_score"], row["rejected_score"], row["margin"]) == (8, 5, 3)
    swapped = named.model_copy(update={"chosen": named.rejected, "rejected": named.chosen})
    with pytest.raises(PlumblineError, match="made from other inputs"):  # a dataset made under other names is another one
        import_pairs(tmp_path / "import", swapped, tiny)


def test_a_file_without_a_preference_is_told_by_its_columns_before_anything_starts(tmp_path: Path, tiny: Checkpoint) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text('{"question": "Why?", "response_j": "so"}\n' * 2)
    said = r"2 of 2 lines .* the first has 'question', 'response_j'; give .* configuration's pairs\.prompt, pairs\.chosen and"
    for read in (check_preferences, lambda config: import_pairs(tmp_path / "import", config, tiny)):
        with pytest.raises(PlumblineError, match=said):
            read(PairsFileConfig(file=str(path)))
    path.write_text('{"question": "Why?"}\n{"prompt": "Why?", "chosen": "so", "rejected": "no"}\n')
    check_preferences(PairsFileConfig(file=str(path)))


def test_a_file_of_labelled_answers_is_not_told_to_become_what_it_is(tmp_path: Path) -> None:
    """`rubric derive` wants two answers to a prompt, and asked for prompt, completion and label of a file that has them."""
    path = tmp_path / "labels.jsonl"
    path.write_text('{"prompt": "Why?", "completion": "so", "label": true}\n')
    with pytest.raises(
        PlumblineError, match=r"puts one answer over another \(the first has 'prompt', 'completion', 'label'\): give"
    ):
        read_preferences(path)
