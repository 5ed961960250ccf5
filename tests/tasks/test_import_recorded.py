"""Recorded pairs: a round's lines, under the keys that the config names, encoded for the policy."""

import json
from pathlib import Path
from typing import Any

import pytest

from data_contracts.config_pairs import PromptsConfig, Recorded
from data_contracts.contrast import contrast, summarise
from data_contracts.errors import PlumblineError
from data_contracts.store import Dataset
from models.chat import encode_answer
from models.checkpoint import Checkpoint, load_tokenizer
from tasks.import_pairs import facts_of
from tasks.import_recorded import check_lines, check_recorded, import_recorded
from tasks.pair.stage import pair


def written(tmp_path: Path, lines: list[Any]) -> PromptsConfig:
    path = tmp_path / "recorded.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return PromptsConfig(file=str(path), per_round=3)


def imported(tmp_path: Path, lines: list[Any], tiny: Checkpoint, number: int = 1, **keys: str) -> Dataset:
    method = Recorded(name="recorded", **keys)  # type: ignore[arg-type]
    return import_recorded(tmp_path / f"import-{number}", written(tmp_path, lines), method, tiny, number)


PLAIN = [{"prompt": f"question {i}?", "chosen": f"good {i}", "rejected": f"bad {i}", "gold": "best"} for i in range(5)]


def test_each_round_takes_its_own_lines(tmp_path: Path, tiny: Checkpoint) -> None:
    rounds = [[row["chosen"] for row in imported(tmp_path, PLAIN, tiny, number).records()] for number in (1, 2)]
    assert rounds == [["good 0", "good 1", "good 2"], ["good 3", "good 4"]]
    with pytest.raises(PlumblineError, match="holds 5 lines, but 2 rounds"):
        check_recorded(written(tmp_path, PLAIN), Recorded(name="recorded"), 2)
    check_recorded(written(tmp_path, PLAIN), Recorded(name="recorded"), 1)


def test_keys_under_which_nothing_stands_are_told_before_a_round_begins(tmp_path: Path) -> None:
    prompts = written(tmp_path, ["{", *PLAIN])
    check_recorded(prompts, Recorded(name="recorded"), 1)
    with pytest.raises(PlumblineError, match=r"no line of round 1 .*missing.*the first has 'prompt', 'chosen'.*keys in method"):
        check_recorded(prompts, Recorded(name="recorded", chosen="model_a"), 1)


def test_keys_name_where_things_are_and_a_gold_answer_stands_beside_the_pair(tmp_path: Path, tiny: Checkpoint) -> None:
    lines = [{"ask": "Why?", "by": {"one": "so", "two": "no"}, "best": "thus", "p": 0.25}]
    keys = {"prompt": "ask", "chosen": "by.one", "rejected": "by.two", "gold": "best", "probability": "p"}
    (row,) = imported(tmp_path, lines, tiny, **keys).records()
    assert (row["chosen"], row["rejected"], row["chosen_policy"], row["policy"]) == ("so", "no", "by.one", "by.two")
    assert row["gold_ids"] == encode_answer(load_tokenizer(tiny.path), "thus")
    assert (row["win_probability"], row["on_policy"], row["method"]) == (0.25, False, "recorded")


def test_lines_that_cannot_be_read_are_counted_and_kept_by_name(tmp_path: Path, tiny: Checkpoint) -> None:
    data = imported(tmp_path, ["{", {"prompt": "Why?", "chosen": "so"}, PLAIN[0] | {"p": 2}], tiny, 1)
    assert data.facts == facts_of(1, {"missing_field": 1, "not_json": 1})
    kept = [json.loads(line) for line in (data.folder / "unreadable.jsonl").read_text().splitlines()]
    assert [(k["line"], k["reason"]) for k in kept] == [(1, "not_json"), (2, "missing_field")]


def test_pairs_and_labelled_completions_stand_in_one_file(tmp_path: Path, tiny: Checkpoint) -> None:
    labels: list[dict[str, Any]] = [
        {"prompt": "Why?", "completion": "so", "label": True},
        {"prompt": "Why?", "completion": "no", "label": False},
    ]
    data = imported(tmp_path, [PLAIN[0] | {"p": 0.25}, *labels], tiny, probability="p")
    whole, good, bad = data.records()
    tokenizer = load_tokenizer(tiny.path)
    assert (good["chosen"], good["chosen_ids"], good["chosen_stopped"]) == ("so", encode_answer(tokenizer, "so"), True)
    assert (bad["rejected"], bad["rejected_ids"], bad["rejected_stopped"]) == ("no", encode_answer(tokenizer, "no"), True)
    assert (
        good["rejected"] is good["rejected_ids"] is good["rejected_stopped"] is good["policy"] is good["win_probability"] is None
    )
    assert bad["chosen"] is bad["chosen_ids"] is bad["chosen_stopped"] is bad["chosen_policy"] is bad["margin"] is None
    pairs = pair(tmp_path / "pair", Recorded(name="recorded", probability="p"), [data], tiny.hash, tiny.hash, 1, 0)
    assert [(r["chosen"], r["rejected"]) for r in pairs.records()] == [("bad 0", "good 0"), ("so", None), (None, "no")]
    assert pairs.facts == {"pairs": 1, "turned": 1, "undecided": 0, "one_sided": 2} and whole["win_probability"] == 0.25


def test_a_gold_answer_that_no_text_can_hold_costs_its_line_alone(tmp_path: Path, tiny: Checkpoint) -> None:
    data = imported(tmp_path, [PLAIN[0] | {"best": "\ud800"}, PLAIN[1]], tiny, gold="best")
    assert data.facts == facts_of(1, {"not_text": 1})


def test_a_run_that_goes_on_takes_new_pairs_from_the_end_of_its_file_and_no_others(tmp_path: Path, tiny: Checkpoint) -> None:
    method = Recorded(name="recorded")
    first = import_recorded(tmp_path / "round-1" / "import", written(tmp_path, PLAIN[:3]), method, tiny, 1)
    longer = written(tmp_path, PLAIN)
    check_lines(tmp_path, longer)
    assert import_recorded(tmp_path / "round-1" / "import", longer, method, tiny, 1).key == first.key
    with pytest.raises(PlumblineError, match="append new pairs at the end"):
        check_lines(tmp_path, written(tmp_path, [PLAIN[4], *PLAIN]))


@pytest.mark.parametrize("chance", [None, "0.5", 2, -0.1, True])
def test_a_probability_that_is_none_is_no_pair(tmp_path: Path, tiny: Checkpoint, chance: Any) -> None:
    with pytest.raises(PlumblineError, match="probability that is asked for is no number"):
        imported(tmp_path, [PLAIN[0] | {"p": chance}], tiny, probability="p")


def test_the_real_answers_as_two_of_the_papers_sets(tmp_path: Path, tiny: Checkpoint, shared_data: Path) -> None:
    """GPT-4-Turbo over Llama-3-8B-Instruct, and Gemma-7B-it against GPT-4-Turbo by GPT-4's recorded verdict."""
    prompts = PromptsConfig(file=str(shared_data / "alpaca_eval_responses.jsonl"), per_round=40)
    stronger = Recorded(name="recorded", prompt="instruction", chosen="gpt4_turbo", rejected="llama3_8b_instruct")
    judged = stronger.model_copy(update={"chosen": "gemma_7b_it", "rejected": "gpt4_turbo"})
    judged = judged.model_copy(update={"probability": "gpt4_judge_prob_gemma_wins"})
    facts = {}
    for name, method in (("stronger_preferred", stronger), ("off_policy_judge", judged)):
        data = import_recorded(tmp_path / f"import-{name}", prompts, method, tiny, 1)
        pairs = pair(tmp_path / name, method, [data], tiny.hash, tiny.hash, 1, 0)
        facts[name] = pairs.facts | summarise(contrast(pairs.frame()))
    assert facts["stronger_preferred"]["pairs"] == 40
    # GPT-4 preferred its own answer almost always, so almost all pairs are turned round
    assert 30 < facts["off_policy_judge"]["turned"] <= 40
    assert all(found["character_edits"] > 500 and found["shared_prefix"] < 0.1 for found in facts.values())
