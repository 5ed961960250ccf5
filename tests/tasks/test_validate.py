import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import pytest

from data_contracts.config_validate import ValidateConfig
from data_contracts.errors import PlumblineError
from data_contracts.store import Dataset, build
from data_contracts.suites.contract import Limits
from models.checkpoint import Checkpoint, load_tokenizer
from tasks.validate import limits_of, set_aside, validate

EOS, WORD = 2, 9
LIMITS = Limits(20, (EOS,), None, 0, ("<|end|>",), (EOS,))
PROMPT = [{"role": "user", "content": "hello"}]


def pair(name: str, **changes: Any) -> dict[str, Any]:
    row = {
        "pair_id": name,
        "prompt_id": name,
        "prompt": PROMPT,
        "prompt_ids": [WORD, WORD],
        "chosen": f"{name} yes",
        "rejected": f"{name} no",
        "chosen_ids": [WORD, EOS],
        "rejected_ids": [WORD, WORD + 1, EOS],
        "chosen_stopped": True,
        "rejected_stopped": True,
        "method": "human",
        "margin": None,
        "reasoning": "",
        "policy": "",
    }
    return row | changes


def config(**changes: Any) -> ValidateConfig:
    return ValidateConfig(**({"max_tokens": 20, "min_rows": 1, "max_quarantined": 0.9} | changes))


@pytest.fixture
def pairs(tmp_path: Path) -> Callable[..., Dataset]:
    def make(*rows: dict[str, Any]) -> Dataset:
        return build(tmp_path / "pair", "pairs", {}, lambda _: (list(rows), {}))

    return make


def test_clean_rows_go_on_and_broken_rows_to_quarantine_under_their_contracts(
    tmp_path: Path, pairs: Callable[..., Dataset]
) -> None:
    given = pairs(pair("a"), pair("b", chosen=""), pair("c", rejected="", rejected_ids=[WORD]), pair("d"))
    made = validate(tmp_path / "validate_pairs", given, config(), LIMITS, tmp_path / "data_docs")
    assert [row["pair_id"] for row in made.records()] == ["a", "d"]
    assert made.table().schema == given.table().schema
    quarantine = pq.read_table(made.folder / "quarantine.parquet").to_pylist()
    assert {row["pair_id"]: row["contracts"] for row in quarantine} == {
        "b": ["chosen_not_empty"],
        "c": ["rejected_not_empty", "rejected_eos_iff_stopped"],
    }
    assert {key: quarantine[0][key] for key in given.records()[1]} == given.records()[1]
    assert (made.facts["kept"], made.facts["quarantined"]) == (2, 2)
    assert made.facts["contracts"]["chosen_not_empty"] == 1
    assert made.facts["contracts"]["answers_differ"] == 0
    assert (tmp_path / "data_docs" / "index.html").exists()


def test_the_gate_report_names_contract_reason_and_examples(tmp_path: Path, pairs: Callable[..., Dataset]) -> None:
    given = pairs(*(pair(str(i), chosen="" if i < 8 else "yes") for i in range(10)))
    made = validate(tmp_path / "validate_pairs", given, config(), LIMITS, tmp_path / "data_docs")
    report = json.loads((made.folder / "gate.json").read_text())
    entry = next(e for e in report["contracts"] if e["contract"] == "chosen_not_empty")
    assert (entry["checked"], entry["broken"], entry["examples"]) == (10, 8, ["0", "1", "2", "3", "4"])
    assert entry["why"].endswith(".")
    assert {e["scope"] for e in report["contracts"]} == {"row", "mean", "count"}


@pytest.mark.parametrize(
    ("changes", "contract"), [({"min_rows": 3}, "enough_rows"), ({"max_quarantined": 0.4}, "quarantine_small")]
)
def test_a_failed_dataset_stops_with_a_sentence_and_keeps_its_evidence(
    tmp_path: Path, pairs: Callable[..., Dataset], changes: dict[str, Any], contract: str
) -> None:
    given = pairs(pair("a"), pair("b"), pair("c", chosen=""), pair("d", chosen=""))
    folder = tmp_path / "validate_pairs"
    with pytest.raises(PlumblineError) as told:
        validate(folder, given, config(**changes), LIMITS, tmp_path / "data_docs")
    sentence = str(told.value)
    for part in (contract, "2 of 4 rows", "chosen_not_empty (2 rows)", str(tmp_path / "validate_pairs.failed")):
        assert part in sentence
    assert "\n" not in sentence
    evidence = tmp_path / "validate_pairs.failed"
    assert pq.read_table(evidence / "quarantine.parquet").num_rows == 2
    assert json.loads((evidence / "gate.json").read_text())["quarantined"] == 2
    assert not (folder / "manifest.json").exists()

    mended = validate(folder, given, config(), LIMITS, tmp_path / "data_docs")
    assert mended.rows == 2
    assert not evidence.exists()


def test_a_share_lost_exactly_at_the_limit_passes(tmp_path: Path, pairs: Callable[..., Dataset]) -> None:
    given = pairs(*(pair(str(i), chosen="" if i < 3 else "yes") for i in range(10)))
    assert validate(tmp_path / "v", given, config(max_quarantined=0.3), LIMITS, tmp_path / "docs").rows == 7


def test_nothing_left_is_told_as_too_few_rows(tmp_path: Path, pairs: Callable[..., Dataset]) -> None:
    with pytest.raises(PlumblineError, match="enough_rows is broken: 0 of 1 rows are left"):
        validate(tmp_path / "v", pairs(pair("a", chosen="")), config(max_quarantined=1.0), LIMITS, tmp_path / "docs")


def test_a_dataset_without_rows_is_told_as_too_few_rows(tmp_path: Path, pairs: Callable[..., Dataset]) -> None:
    with pytest.raises(PlumblineError, match="enough_rows is broken: 0 of 0 rows are left"):
        validate(tmp_path / "v", pairs(), config(), LIMITS, tmp_path / "docs")


def test_a_length_bias_warns_and_does_not_stop(tmp_path: Path, pairs: Callable[..., Dataset]) -> None:
    given = pairs(*(pair(str(i), chosen="yes" * 9, chosen_ids=[WORD] * 9 + [EOS]) for i in range(5)))
    made = validate(tmp_path / "v", given, config(), LIMITS, tmp_path / "docs")
    assert [w.split(" ")[0] for w in made.facts["warnings"]] == ["length_ratio_moderate", "length_does_not_decide"]
    assert made.facts["metrics"]["chosen_longer"] == 1


def test_what_set_rows_aside_is_told_apart_from_what_only_warns(tmp_path: Path, pairs: Callable[..., Dataset]) -> None:
    long = {"rejected_ids": [*range(WORD, WORD + 39), EOS]}
    given = pairs(*(pair(str(i), **long) for i in range(3)), pair("3", chosen=""), pair("4", chosen="", rejected=""))
    made = validate(tmp_path / "v", given, config(), replace(LIMITS, max_tokens=99), tmp_path / "docs")
    assert set_aside(made.folder).startswith("chosen_not_empty 2, ") and "length_ratio" not in set_aside(made.folder)
    assert any(w.startswith("length_ratio_within (3 rows, not set aside for it): ") for w in made.facts["warnings"])


def test_balanced_lengths_do_not_warn(tmp_path: Path, pairs: Callable[..., Dataset]) -> None:
    swap = {"chosen_ids": [WORD, WORD + 1, EOS], "rejected_ids": [WORD, EOS]}
    made = validate(tmp_path / "v", pairs(pair("a"), pair("b", **swap)), config(), LIMITS, tmp_path / "docs")
    assert made.facts["warnings"] == []


ASKED = "Where does the river rise, which towns does it run through, and how many bridges are there over it today?"
DEGENERATE: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "not_trivially_separable": lambda one, other: {"chosen": f"Certainly! {one}", "rejected": other},
    "few_near_identical": lambda one, _: {"chosen": f"{one * 8} yes", "rejected": f"{one * 8} yet"},
    "judged_better": lambda one, other: {"chosen": one, "rejected": other, "chosen_score": 0.1, "rejected_score": 0.2},
    "language_kept": lambda one, other: {
        "chosen": f"{one} Der Fluss entspringt in den Hügeln über der Stadt und fließt vierzig Meilen bis zum Meer vorbei",
        "rejected": f"{other} Die Stadt liegt an einem Fluss, über den heute keine einzige Brücke mehr führt, wie man weiß",
    },
}


@pytest.mark.parametrize("contract", [None, *DEGENERATE])
def test_what_would_teach_nothing_of_what_was_meant_is_warned_of(
    contract: str | None, tmp_path: Path, pairs: Callable[..., Dataset]
) -> None:
    draw = Random(0)
    texts = [[" ".join(draw.choices(["red", "green", "blue", "gold", "grey", "pink"], k=6)) for _ in range(2)] for _ in range(60)]
    made_of = DEGENERATE.get(contract or "", lambda one, other: {"chosen": one, "rejected": other})
    prompt = [{"role": "user", "content": ASKED}]
    rows = [pair(str(i), prompt=prompt, **made_of(*two)) for i, two in enumerate(texts)]
    made = validate(tmp_path / "v", pairs(*rows), config(), LIMITS, tmp_path / "docs")
    warned = {warning.split(" ")[0] for warning in made.facts["warnings"]} & set(DEGENERATE)
    assert (contract in warned) if contract else not warned
    assert made.rows == 60


def test_revisions_count_why_parsing_failed(tmp_path: Path) -> None:
    sample = {"prompt_id": "p", "prompt": PROMPT, "prompt_ids": [WORD], "text": "a", "token_ids": [WORD, EOS], "stopped": True}
    read = sample | {"policy": "x", "raw": "", "reasoning": "", "revision": "b", "revision_ids": [WORD, EOS], "teacher": "t"}
    unread = read | {"revision": None, "revision_ids": None}
    rows = [
        read | {"sample_id": "0", "failure": None},
        *(unread | {"sample_id": str(i), "failure": "cut" if i == 3 else "no_tag"} for i in (1, 2, 3)),
    ]
    given = build(tmp_path / "revise", "revisions", {}, lambda _: (rows, {}))
    made = validate(tmp_path / "v", given, config(), LIMITS, tmp_path / "docs")
    assert made.facts["failures"] == {"cut": 1, "no_tag": 2}
    assert made.facts["contracts"]["revision_parsed"] == 3
    assert sum(made.facts["contracts"].values()) == 3


def test_limits_tell_what_the_template_writes(student: Checkpoint) -> None:
    tokenizer = load_tokenizer(student.path)
    plain = limits_of(tokenizer, 100)
    assert (plain.bos_token_id, plain.bos_per_prompt, plain.end_ids) == (None, 0, (tokenizer.eos_token_id,))
    assert tokenizer.eos_token in plain.control_tokens
    tokenizer.add_special_tokens({"bos_token": "<|begin|>"})
    assert limits_of(tokenizer, 100).bos_per_prompt == 0
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    assert limits_of(tokenizer, 100).bos_per_prompt == 1
    begun, head, loop = tokenizer.chat_template, "{{ bos_token }}", "{%- for message in messages -%}"
    assert loop in begun
    tokenizer.chat_template = begun.removeprefix(head).replace(loop, loop + head)  # as Llama 2 does: nothing to count on
    assert (limits_of(tokenizer, 100).bos_token_id, limits_of(tokenizer, 100).bos_per_prompt) == (None, 0)


def test_prompts_that_nobody_can_be_asked_are_set_aside_and_the_others_go_on(tmp_path: Path, student: Checkpoint) -> None:
    tokenizer = load_tokenizer(student.path)
    tokenizer.chat_template = (
        "{%- if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{%- endif %}" + tokenizer.chat_template
    )
    long, system = [{"role": "user", "content": "hello " * 60}], [{"role": "system", "content": "hello"}, *PROMPT]
    rows = [{"prompt_id": name, "prompt": prompt} for name, prompt in (("good", PROMPT), ("long", long), ("system", system))]
    given = build(tmp_path / "prompts", "prompts", {}, lambda _: (rows, {}))

    def broken(place: str, limits: Limits) -> dict[str, list[str]]:
        made = validate(tmp_path / place, given, config(max_tokens=1000), limits, tmp_path / "docs")
        return {row["prompt_id"]: row["contracts"] for row in pq.read_table(made.folder / "quarantine.parquet").to_pylist()}

    plain = limits_of(tokenizer, 1000)
    assert broken("engine", replace(plain, engine_tokens=50)) == {
        "long": ["prompt_leaves_room"],
        "system": ["template_takes_prompt"],
    }
    assert set(broken("wide", replace(plain, engine_tokens=1000))) == {"system"}
    assert broken("nobody", plain) == {}  # nobody is asked
