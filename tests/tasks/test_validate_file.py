"""`plumbline validate`: which rows of somebody's own file break what, and round trips through a real tokenizer."""

import json
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from data_contracts.errors import PlumblineError
from data_contracts.store import build
from models.chat import encode_answer, encode_prompt, encode_prompts
from models.checkpoint import Checkpoint, load_tokenizer
from tasks.validate_file import check_file, read_dataset, render


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


GOOD = {"prompt": "What is seven plus five?", "chosen": "It is twelve.", "rejected": "It is eleven."}


def test_each_broken_row_of_a_file_is_named_with_what_it_broke(tmp_path: Path, tiny: Checkpoint) -> None:
    file = write(tmp_path / "mine.jsonl", GOOD, GOOD | {"chosen": "It is eleven."}, GOOD | {"chosen": "<b>\ufffd</b>"}, {"x": 1})
    found = check_file(read_dataset("pairs", file, str(tiny.path), tmp_path), str(tiny.path), 256, tmp_path)
    assert found["rows"] == {"2": ["answers_differ"], "3": ["chosen_encoding_sane"]}
    assert (found["checked"], found["kept"], found["quarantined"]) == (3, 1, 2)
    assert sum(found["unreadable"].values()) == 1
    told = [part for part in render(found, 5) if isinstance(part, str)]
    assert told[0] == "3 rows checked, 1 clean, 2 broken"
    assert told[1] == "1 line could not be read, since chosen or rejected is missing, or a completion's label: 4"


def test_labelled_completions_are_checked_like_sides_and_what_compares_sides_is_left_out(
    tmp_path: Path, tiny: Checkpoint
) -> None:
    lines: list[dict[str, Any]] = [
        {"prompt": "What is seven plus five?", "completion": "It is twelve.", "label": True},
        {"prompt": "What is seven plus five?", "completion": "It is eleven.", "label": False},
        {"prompt": "What is seven plus five?", "completion": "<b>\ufffd</b>", "label": True},
        {"prompt": "What is seven plus six?", "completion": "Who knows?", "label": "bad"},
    ]
    for rows, metrics in ((lines, {"one_sided": 2}), ([*lines, GOOD], {"one_sided": 2, "chosen_longer": 0.5})):
        out = tmp_path / str(len(rows))
        out.mkdir()
        found = check_file(read_dataset("pairs", write(out / "l.jsonl", *rows), str(tiny.path), out), str(tiny.path), 256, out)
        assert found["rows"] == {"3": ["chosen_encoding_sane"]} and found["unreadable"] == {"no_label": 1}
        assert {name: found["metrics"].get(name) for name in metrics} == metrics
        assert ("length_ratio_moderate" in {c["contract"] for c in found["contracts"]}) == (len(rows) == 5)
        render(found, 5)


def test_a_terminal_obeys_no_id(tmp_path: Path, tiny: Checkpoint) -> None:
    data = build(tmp_path / "prompts", "prompts", {}, lambda _: ([{"prompt_id": "a\x1b[2J[red]", "prompt": []}], {}))
    found = check_file(data, str(tiny.path), 256, tmp_path)
    console = Console(file=StringIO(), force_terminal=True, width=200)
    console.print(*render(found, 5))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[2J" not in shown and "[2J[red]" in shown


def test_another_models_verdict_is_not_taken_for_its_own(tmp_path: Path, tiny: Checkpoint) -> None:
    """Two models may differ in their templates alone, of which a contract on round trips knows."""
    other = shutil.copytree(tiny.path, tmp_path / "other")
    template = other / "chat_template.jinja"
    template.write_text(f"Hello{template.read_text()}")
    data = read_dataset("pairs", write(tmp_path / "mine.jsonl", GOOD), str(tiny.path), tmp_path)
    assert check_file(data, str(tiny.path), 256, tmp_path)["quarantined"] == 0
    with pytest.raises(PlumblineError, match="made from other inputs or settings"):
        check_file(data, str(other), 256, tmp_path)
    assert check_file(data, str(other), 256, tmp_path / "apart")["rows"] == {"1": ["prompt_round_trip"]}


def test_a_clean_file_breaks_nothing(tmp_path: Path, tiny: Checkpoint) -> None:
    found = check_file(
        read_dataset("pairs", write(tmp_path / "mine.jsonl", GOOD), str(tiny.path), tmp_path), str(tiny.path), 256, tmp_path
    )
    assert found["rows"] == found["unreadable"] == {}


def test_ids_that_do_not_spell_the_text_are_found_on_every_side(tmp_path: Path, tiny: Checkpoint) -> None:
    """Bytes that another template or tokenizer would have written: one row for each place, and one that is right."""
    tokenizer = load_tokenizer(tiny.path)
    prompt = [{"role": "user", "content": "What is seven plus five?"}]
    right = {
        "prompt_id": "p",
        "prompt": prompt,
        "prompt_ids": encode_prompt(tokenizer, prompt),  # type: ignore[arg-type]
        "method": "human",
        "policy": "",
        "reasoning": "",
    }
    for side, text in (("chosen", "It is twelve."), ("rejected", "It is eleven.")):
        right |= {side: text, f"{side}_ids": encode_answer(tokenizer, text), f"{side}_stopped": True}
    wrong = {
        "right": {},
        "prompt": {"prompt_ids": encode_prompt(tokenizer, [{"role": "user", "content": "What is seven plus four?"}])},
        "chosen": {"chosen": "It is ten."},
        "rejected": {"rejected": "It is nine."},
    }
    rows = [right | changes | {"pair_id": name} for name, changes in wrong.items()]
    data = build(tmp_path / "pairs", "pairs", {}, lambda _: (rows, {}))
    found = check_file(data, str(tiny.path), 256, tmp_path)["rows"]
    assert found.pop("right", []) in ([], ["pair_not_repeated"])
    assert "prompt_round_trip" in found["prompt"]
    assert found["chosen"] == ["chosen_round_trip"]
    assert found["rejected"] == ["rejected_round_trip"]


def test_many_prompts_are_encoded_like_one_by_one(tiny: Checkpoint) -> None:
    tokenizer = load_tokenizer(tiny.path)
    texts = ["plain", "with <|end|> spelt", "", "two\nlines"]
    conversations: Any = [[{"role": "user", "content": text}] for text in texts]
    assert encode_prompts(tokenizer, conversations) == [encode_prompt(tokenizer, c) for c in conversations]
    assert encode_prompts(tokenizer, []) == []


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("poems", ".", "no contracts for 'poems'"),
        ("pairs", "absent.jsonl", "does not exist"),
        ("samples", "file", "a run's dataset"),
    ],
)
def test_what_cannot_be_validated_is_one_sentence(tmp_path: Path, kind: str, name: str, said: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(PlumblineError, match=said):
        read_dataset(kind, tmp_path / name, "unused", tmp_path)
