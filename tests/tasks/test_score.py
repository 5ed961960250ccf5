"""Scores add up as upstream's do, to the digit; models are compared question by question; a picked maximum is called one."""

import json
from pathlib import Path

import pytest

from data_contracts.errors import PlumblineError
from models.benchmark import load_benchmark
from models.benchmark_prompts import mixeval_prompt
from models.journal import Reply
from models.responses import Responses, read_responses
from models.teacher import Teacher
from tasks.score import official_scores
from tasks.score_responses import check_benchmark, comparison, score_responses, unparsed, write_scores


def row(split: str, benchmark: str, score: float) -> dict[str, object]:
    return {"split": split, "benchmark": benchmark, "score": score}


def test_upstream_rounds_each_split_first_and_then_weighs_by_rows() -> None:
    rows = [row("free-form", "AGIEval", s) for s in (1, 0, 0)]  # .333
    rows += [row("free-form", "DROP", s) for s in (1, 1, 0, 0, 0, 0)]  # .333; the split: 3/9 = .333
    rows += [row("multiple-choice", "AGIEval", s) for s in (1, 1, 0, 1, 1, 1, 1)]  # 6/7 = .857
    official = official_scores(rows)
    assert list(official) == ["overall", "AGIEval", "DROP"]
    assert official["overall"] == 0.333 * (9 / 16) + 0.857 * (7 / 16)
    assert official["AGIEval"] == 0.333 * (3 / 10) + 0.857 * (7 / 10)
    assert official["DROP"] == 0.333
    assert official["overall"] != pytest.approx(9 / 16, abs=1e-5)  # the mean over rows is another number


def small(folder: Path, answers: list[str], model: str = "m") -> Responses:
    """Four rows, three distinct questions."""
    folder.mkdir(parents=True, exist_ok=True)
    free = {"problem_type": "free-form", "context": None, "prompt": "2 + 2?", "target": ["4"], "benchmark_name": "GSM8k"}
    choice = {"problem_type": "multiple-choice", "context": None, "prompt": "Who?", "options": ["dogs", "cats"], "target": [1]}
    choice["benchmark_name"] = "ARC"
    (folder / "free-form.json").write_text(json.dumps({"0": free, "1": free, "2": free | {"prompt": "1 + 3?"}}))
    (folder / "multiple-choice.json").write_text(json.dumps({"0": choice}))
    questions = load_benchmark(folder)
    return Responses(model, "small-1", questions, tuple(map(mixeval_prompt, questions)), tuple(answers))


def test_a_score_knows_its_rows_distinct_questions_and_what_was_not_read(tmp_path: Path) -> None:
    scored = score_responses(small(tmp_path, ["4", "5", "It is 4.", "no idea"]), "rule-2")
    assert scored.facts["metrics"]["overall"] | {"low": 0, "high": 0} == {
        **{"mean": 0.5, "low": 0, "high": 0},
        **{"rows": 4, "distinct": 3, "unparsed": 1},
    }
    (left,) = unparsed(scored)
    assert (left["question"], left["benchmark"], left["response"]) == ("multiple-choice/0", "ARC", "no idea")


def test_two_models_are_compared_on_the_same_questions_only(tmp_path: Path) -> None:
    good = score_responses(small(tmp_path / "a", ["4", "4", "4", "B"], "good"), "rule-2")
    bad = score_responses(small(tmp_path / "a", ["4", "4", "5", "A"], "bad"), "rule-2")
    found = comparison([good, bad])
    assert found["selection"] is None
    (gain,) = found["gains"]
    assert (gain["against"], gain["mean"], gain["rows"], gain["distinct"]) == ("bad", 0.5, 4, 3)
    # two of three questions differ, both one way: of the 4 equally likely signs, 2 are as extreme
    assert gain["p"] == pytest.approx(0.5, abs=0.02)
    fewer = Responses("m", "small-1", *(part[:2] for part in (good.answered.questions, good.answered.prompts, ("4", "4"))))
    with pytest.raises(PlumblineError, match="same questions"):
        comparison([good, score_responses(fewer, "rule-2")])


def test_the_best_of_three_is_called_a_pick_and_any_other_is_not(tmp_path: Path) -> None:
    said = [["4", "4", "4", "B"], ["4", "4", "5", "A"], ["5", "5", "4", "B"]]
    best, *others = [score_responses(small(tmp_path, answers), "rule-2") for answers in said]
    picked = comparison([best, *others])["selection"]
    assert picked["models"] == 3 and 0 <= picked["bias"] < 0.5
    alone, beside = comparison([best, others[0]])["gains"][0]["p"], comparison([best, *others])["gains"][0]["p"]
    assert alone == pytest.approx(0.5, abs=0.02) and beside == pytest.approx(
        1.0, abs=0.04
    )  # one of two questions asked of the same data
    assert comparison([others[0], best, others[1]])["selection"] is None


def test_responses_must_answer_the_whole_benchmark_that_they_are_named_after(tmp_path: Path) -> None:
    folder = tmp_path / "small-2024-01-01" / "small"
    answered = small(folder, ["4", "4", "4", "B"])
    assert check_benchmark(answered, str(folder)).benchmark == "small-2024-01-01"
    part = Responses("m", "x", answered.questions[:3], answered.prompts[:3], answered.responses[:3])
    with pytest.raises(PlumblineError, match=r"3 of the 4 questions .* \(multiple-choice/0 is missing\)"):
        check_benchmark(part, str(folder))
    small(tmp_path / "other", [])
    (tmp_path / "other" / "multiple-choice.json").unlink()
    with pytest.raises(PlumblineError, match=r"not in .* \(multiple-choice/0\)"):
        check_benchmark(answered, str(tmp_path / "other"))


def test_upstreams_result_files_are_written_beside_the_score(tmp_path: Path) -> None:
    answered = small(tmp_path / "b", ["4", "5", "4", "?"])
    write_scores(tmp_path / "rule", score_responses(answered, "official-rule"))
    free, choice = ([json.loads(x) for x in (tmp_path / "rule" / f"judge_results_{s}_rule.jsonl").open()] for s in ("ff", "mp"))
    assert [r["eval_result"] for r in free] == [True, False, True] and free[0]["parsed_result"] == ["4"]
    assert choice[0]["parsed_result"] in "AB" and choice[0]["eval_result"] == (choice[0]["parsed_result"] == "B")
    assert set(json.loads((tmp_path / "rule" / "score.json").read_text())) == {"overall", "GSM8k", "ARC"}

    def complete(conversations, sampling, seed, progress):
        return [Reply("[[0.5]]" if "reference" in c[0]["content"] else "[[none]]", "stop") for c in conversations]

    write_scores(tmp_path / "model", score_responses(answered, "model-1", Teacher("org/judge", complete)))
    free = [json.loads(x) for x in (tmp_path / "model" / "judge_results_ff_model_judge_org_judge.jsonl").open()]
    choice = [json.loads(x) for x in (tmp_path / "model" / "judge_results_mp_model_judge_org_judge.jsonl").open()]
    assert [(r["judge_score"], r["judge_response"]) for r in free] == [(0.5, "[[0.5]]")] * 3
    assert choice[0]["judge_option"] == "" and list(choice[0])[-2:] == ["judge_response", "judge_option"]


def test_real_responses_score_as_upstream_does(shared_data: Path) -> None:
    answered = read_responses(shared_data / "mixeval" / "responses")
    answered = check_benchmark(answered, str(shared_data / "mixeval" / "2024-06-01" / "mixeval-hard"))
    assert answered.benchmark == "mixeval-hard-2024-06-01"
    facts = score_responses(answered, "official-rule").facts
    assert facts["official"]["overall"] == pytest.approx(0.279, abs=1e-12)
    overall = facts["metrics"]["overall"]
    assert (overall["rows"], overall["distinct"], overall["unparsed"]) == (1000, 446, 47)
    assert overall["low"] < 0.25 < 0.31 < overall["high"]  # 446 questions, not 1,000: wider than .251 to .307
