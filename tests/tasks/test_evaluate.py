"""Every question is answered once and counted as often as it is asked; scores carry the name of what gave them."""

import json
import shutil
from pathlib import Path

import pytest

from data_contracts.config_evaluate import EvaluateConfig
from models.checkpoint import load_model, load_tokenizer
from models.embedded.world import check
from models.engine import Completion
from models.journal import Reply
from models.teacher import Teacher
from tasks.evaluate import evaluate
from tasks.score import metric_name
from tests.models.embedded_world import parse_task

EMBEDDED = Path(__file__).parents[2] / "models" / "embedded" / "data" / "mixeval" / "embedded-1"


class Greedy:
    """The engine's interface over a real transformers model on the CPU: slow, but nothing has to be started."""

    dtype, on_gpu, version, max_model_len = "float32", False, "transformers", 512

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def use(self, checkpoint) -> None:
        import torch

        self.tokenizer, self.model = load_tokenizer(checkpoint.path, chat=False), load_model(checkpoint.path, torch.float32)

    def generate(self, prompts, sampling, seeds, progress):
        import torch

        assert sampling.temperature == 0 and len(prompts) == len(seeds)
        self.asked += prompts
        return [self._one(torch.tensor([ids]), sampling.max_tokens) for ids in prompts]

    def _one(self, ids, max_tokens: int) -> Completion:
        out = self.model.generate(ids, attention_mask=ids * 0 + 1, max_new_tokens=max_tokens, do_sample=False)[0, ids.shape[1] :]
        text = self.tokenizer.decode(out, skip_special_tokens=True)
        return Completion(text, out.tolist(), "stop" if out[-1] == self.tokenizer.eos_token_id else "length")


def small_benchmark(folder: Path, n: int = 6) -> Path:
    """The first `n` questions of each split of the embedded benchmark, and the first ones once more under other ids."""
    folder.mkdir(parents=True)
    for split in ("free-form", "multiple-choice"):
        entries = dict(list(json.loads((EMBEDDED / f"{split}.json").read_text()).items())[:n])
        first = next(iter(entries.values()))
        (folder / f"{split}.json").write_text(json.dumps(entries | {"again": first, "and again": first}))
    return folder


def config(benchmark: Path, **changes: object) -> EvaluateConfig:
    return EvaluateConfig(**({"benchmark": str(benchmark), "prompts": "plain", "parser": "strict-1", "max_tokens": 12} | changes))


def test_equal_questions_are_asked_once_and_counted_as_often_as_they_occur(tmp_path: Path, tiny) -> None:
    engine = Greedy()
    made = evaluate(tmp_path / "out", config(small_benchmark(tmp_path / "small-1")), tiny, engine)
    rows = made.records()
    assert (made.rows, len(engine.asked), len({row["question"] for row in rows})) == (16, 12, 12)
    assert made.facts["metrics"]["overall"] | {"mean": 0, "low": 0, "high": 0} == {
        "rows": 16,
        "distinct": 12,
        "unparsed": sum(row["parsed"] is None for row in rows),
        "mean": 0,
        "low": 0,
        "high": 0,
    }
    assert {row["response"] for row in rows if row["question"] == rows[0]["question"]} == {rows[0]["response"]}


def test_overall_is_the_mean_over_rows_of_both_splits(tmp_path: Path, tiny) -> None:
    benchmark = small_benchmark(tmp_path / "small-1")
    (benchmark / "multiple-choice.json").write_text("{}")
    made = evaluate(tmp_path / "out", config(benchmark, parser="rule-1"), tiny, Greedy())
    metrics, rows = made.facts["metrics"], made.records()
    assert set(metrics) == {"free-form", "overall"}
    assert metrics["overall"]["mean"] == sum(row["score"] for row in rows) / len(rows)
    assert sum(made.facts["benchmarks"][name]["rows"] for name in made.facts["benchmarks"]) == len(rows)
    assert made.facts["mean_tokens"] == sum(len(row["token_ids"]) for row in rows) / len(rows)
    assert 0 <= metrics["overall"]["low"] <= metrics["overall"]["mean"] <= metrics["overall"]["high"] <= 1


def test_a_benchmark_that_moved_is_the_same_and_one_that_changed_is_not(tmp_path: Path, tiny) -> None:
    benchmark = small_benchmark(tmp_path / "here" / "small-1", 1)
    first = evaluate(tmp_path / "first", config(benchmark), tiny, Greedy())
    moved = shutil.copytree(benchmark, tmp_path / "there" / "small-1")
    second = evaluate(tmp_path / "second", config(moved), tiny, Greedy())
    entries = json.loads((moved / "free-form.json").read_text())
    next(iter(entries.values()))["target"] = ["another"]
    (moved / "free-form.json").write_text(json.dumps(entries))
    third = evaluate(tmp_path / "third", config(moved), tiny, Greedy())
    assert first.key == second.key != third.key


def test_a_finished_evaluation_asks_nothing(tmp_path: Path, tiny) -> None:
    benchmark = small_benchmark(tmp_path / "small-1", 1)
    evaluate(tmp_path / "out", config(benchmark), tiny, Greedy())
    engine = Greedy()
    evaluate(tmp_path / "out", config(benchmark), tiny, engine)
    assert engine.asked == []


def test_a_score_read_by_a_model_carries_its_name_and_depends_on_it(tmp_path: Path, tiny) -> None:
    benchmark = small_benchmark(tmp_path / "small-1", 1)
    says = {name: Teacher(name, lambda asked, *_: [Reply("[[1.0]]", "stop")] * len(asked)) for name in ("org/a", "b")}
    made = {
        name: evaluate(tmp_path / teacher.name[-1], config(benchmark, parser="model-1"), tiny, Greedy(), teacher)
        for name, teacher in says.items()
    }
    assert made["org/a"].facts["parser"] == "model-1-org_a" and made["org/a"].key != made["b"].key
    assert made["b"].facts["teacher"]["calls"] == 1 + 10  # the choice is asked for again and again
    metrics = made["b"].facts["metrics"]
    assert metrics["free-form"]["mean"] == 1.0 and metrics["multiple-choice"]["unparsed"] == 3


def test_a_metric_is_named_after_benchmark_and_parser() -> None:
    assert metric_name("embedded-1", "strict-1", "overall") == "embedded-1.strict-1.overall"


@pytest.mark.engine
def test_the_parser_agrees_with_the_worlds_own_checker_on_the_students_answers(tmp_path: Path, student, engine) -> None:
    made = evaluate(tmp_path / "out", config(EMBEDDED, max_tokens=40), student, engine)
    rows = made.records()
    right = [float(check(parse_task(row["prompt"]), row["response"])) for row in rows]
    assert [row["score"] for row in rows] == right
    assert 0.4 < made.facts["metrics"]["overall"]["mean"] < 0.75
    assert 0 < sum(row["parsed"] is None for row in rows) < len(rows)
