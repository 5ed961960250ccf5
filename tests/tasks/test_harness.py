"""lm-evaluation-harness on the run's own engine: real tasks of ours, from a folder, on the embedded student."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from data_contracts.config_evaluate import HarnessConfig
from data_contracts.config_sweep import Cell, Sweep
from data_contracts.errors import PlumblineError
from data_contracts.load_config import load_config
from flows.reachable import fetch_data
from flows.sweep import execute_sweep
from models import harness as door
from models.chat import encode_prompt, encode_text, user
from models.checkpoint import load_tokenizer
from tasks.harness import harness

pytest.importorskip("lm_eval")
DEMO = Path(__file__).resolve().parents[2] / "configs" / "demo.yaml"
QUESTIONS = [
    ("Two and two make", [" four", " seven hundred"], 0),
    ("The sky is", [" zzzz qqqq", " blue"], 1),
    ("A b", ["c", "d"], 0),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("tasks")
    data = [{"question": q, "choices": c, "answer": a} for q, c, a in QUESTIONS]
    (made / "data.jsonl").write_text("\n".join(map(json.dumps, data)))
    common = f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {made}/data.jsonl}}}}\ntest_split: test\n"
    choice = "output_type: multiple_choice\ndoc_to_text: '{{question}}'\ndoc_to_choice: '{{choices}}'\ndoc_to_target: answer\n"
    choice += "target_delimiter: ''\nmetric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n"
    written = "output_type: generate_until\ndoc_to_text: '{{question}}'\ndoc_to_target: '{{choices[answer]}}'\n"
    written += "generation_kwargs: {until: ['.'], max_gen_toks: 8}\n"
    written += "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]\n"
    whole = "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: '{{question}}'\n"
    whole += "metric_list: [{metric: word_perplexity}]\n"
    for name, text in {"own_choice": choice, "own_written": written, "own_whole": whole}.items():
        (made / f"{name}.yaml").write_text(f"task: {name}\n{common}{text}")
    return made


def test_choices_answers_and_whole_texts_are_scored_by_the_engine(folder, student, engine, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    config = HarnessConfig(tasks=["own_choice", "own_written", "own_whole"], folder=str(folder))
    door.check_harness(config)
    made = harness(tmp_path / "out", config, student, engine)
    rows = {(row["task"], row["question_id"]): row for row in made.records()}
    expected = []
    for i, (question, choices, answer) in enumerate(QUESTIONS):
        prompt = encode_text(engine.tokenizer, question)
        logps = engine.score([prompt] * 2, [encode_text(engine.tokenizer, question + c)[len(prompt) :] for c in choices])
        expected.append(float(logps.index(max(logps)) == answer))
        assert rows["own_choice", f"own_choice/{i}"]["score"] == expected[-1]
    assert made.facts["own_choice"]["acc"] == pytest.approx(sum(expected) / 3)
    assert made.facts["own_whole"]["word_perplexity"] > 1 and 0 <= made.facts["own_written"]["exact_match"] <= 1


def test_a_template_that_names_the_day_gives_the_same_prompts_on_every_day(student):
    tokenizer = load_tokenizer(student.path)
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}{{ m.content }}{% endfor %}"
    model = door._model(SimpleNamespace(tokenizer=tokenizer, current=student), True, lambda *_: None)
    asked = user("hello")
    assert model.apply_chat_template(asked) == tokenizer.decode(encode_prompt(tokenizer, asked)) == "26 Jul 2024hello"


def test_a_changed_file_of_a_task_is_noticed(folder, student, tmp_path, monkeypatch):
    """The questions, not only the YAML that names them; where the folder lies says nothing."""

    class Idle:
        def use(self, checkpoint):
            pass

    def key():
        config = HarnessConfig(tasks=["own_choice"], folder=str(copy))
        return harness(tmp_path / str(len(list(tmp_path.iterdir()))), config, student, Idle()).key

    monkeypatch.setattr("tasks.harness.run_harness", lambda *_: ([], {}))
    copy = shutil.copytree(folder, tmp_path / "a")
    first = key()
    copy = copy.rename(tmp_path / "b")
    assert key() == first
    (copy / "data.jsonl").write_text("{}")
    assert key() != first


def test_a_task_nobody_knows_and_a_missing_extra_are_told_in_a_sentence(folder, monkeypatch):
    with pytest.raises(PlumblineError, match="names no_such_task, which lm-evaluation-harness does not know or in"):
        door.check_harness(HarnessConfig(tasks=["no_such_task"], folder=str(folder)))
    with pytest.raises(PlumblineError, match=r"harness.folder is nowhere, which is no folder"):
        door.check_harness(HarnessConfig(tasks=["own_choice"], folder="nowhere"))
    monkeypatch.setattr(door, "find_spec", lambda _: None)
    with pytest.raises(PlumblineError, match="not installed: pip install lm-eval"):
        door.check_harness(HarnessConfig(tasks=["own_choice"]))


def test_data_that_is_not_to_be_had_is_told_before_a_run_or_a_sweep_starts_anything(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    copy = shutil.copytree(folder, tmp_path / "tasks")
    text = (copy / "own_choice.yaml").read_text()
    (copy / "own_choice.yaml").write_text(text.replace(f"{folder}/data.jsonl", f"{copy}/data.jsonl"))
    wanted = {"tasks": ["own_choice"], "folder": str(copy)}
    config = load_config(DEMO)
    config = config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"harness": HarnessConfig(**wanted)})})
    fetch_data(config, tmp_path / "run")
    (copy / "data.jsonl").unlink()
    with pytest.raises(PlumblineError, match=r"could not prepare own_choice: .*data\.jsonl"):
        fetch_data(config, tmp_path / "run")
    cells = [Cell(name, {}, config) for name in ("a", "b")]
    monkeypatch.setattr("flows.sweep.open_lender", lambda *_: pytest.fail("it was started"))
    with pytest.raises(PlumblineError, match=r"could not prepare own_choice: .*data\.jsonl"):
        execute_sweep(Sweep("small", {}, cells), tmp_path / "sweep")
    for run in (tmp_path / "run", *(tmp_path / "sweep" / "cells" / cell.label for cell in cells)):
        (run / "round-0" / "harness").mkdir(parents=True)
    fetch_data(config, tmp_path / "run")  # the questions were asked already
    with pytest.raises(pytest.fail.Exception, match="it was started"):
        execute_sweep(Sweep("small", {}, cells), tmp_path / "sweep")


def test_a_metric_with_a_filter_has_a_name_that_mlflow_takes():
    assert door._name("acc", "none") == door._name("acc") == "acc"
    assert door._name(*["exact_match", "strict-match"]) == "exact_match.strict-match"


@pytest.mark.parametrize(
    ("asked", "kept"),
    [({"until": ["\n", "."]}, "one"), ({"until": "two"}, "one. "), ({"until": []}, "one. two\nthree"), ({}, "one. two\nthree")],
)
def test_a_generated_text_ends_before_its_first_stop(asked, kept):
    assert door._until("one. two\nthree", asked) == kept
