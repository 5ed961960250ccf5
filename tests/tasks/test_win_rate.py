"""The win rate counts what the judge preferred, nobody is asked about equal answers, and a biased judge decides nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from data_contracts.config_evaluate import RecordedAnswers
from data_contracts.config_judge import JudgeConfig
from data_contracts.errors import PlumblineError
from data_contracts.store import Dataset, build
from models.journal import Reply
from models.teacher import Teacher
from tasks.win_rate import recorded, win_rate

LIKELIHOOD = JudgeConfig(kind="likelihood")


def answers(folder: Path, texts: list[str]) -> Dataset:
    """One row a text; rows come in twos that ask the same question."""
    rows = [
        {
            "question_id": f"free-form/{i}",
            "split": "free-form",
            "benchmark": "b",
            "question": f"q{i // 2}",
            "prompt": f"question {i // 2}",
            "prompt_ids": [1],
            "response": text,
            "token_ids": [1],
            "stopped": True,
            "parsed": text,
            "score": 0.0,
        }
        for i, text in enumerate(texts)
    ]
    return build(folder, "answers", {"texts": texts}, lambda _: (rows, {}))


def counting(asked: list[str]) -> Teacher:
    """Prefers the longer answer."""

    def score(conversations, texts):
        asked.extend(texts)
        return [float(len(text)) for text in texts]

    return Teacher("length", lambda *_: [], score)


def always(place: str) -> Teacher:
    return Teacher(place, lambda conversations, *_: [Reply(f"{{preferred}}: {place}", "stop") for _ in conversations])


def test_wins_and_half_the_ties_over_all_rows(tmp_path: Path) -> None:
    new = answers(tmp_path / "new", ["long answer", "long answer", "same", "same", "a", "a", "better", "b"])
    old = answers(tmp_path / "old", ["short", "short", "same", "same", "long", "long", "worse!", "c"])
    made = win_rate(tmp_path / "out", new, old, LIKELIHOOD, counting([]), 0)
    assert [made.facts[name] for name in ("wins", "losses", "ties", "n", "win_rate")] == [2, 2, 4, 8, 0.5]
    assert made.facts["low"] < 0.5 < made.facts["high"]
    assert [row["outcome"] for row in made.records()] == ["first"] * 2 + ["tie"] * 2 + ["second"] * 2 + ["tie"] * 2


def test_equal_answers_win_half_and_cost_nothing(tmp_path: Path) -> None:
    asked: list[str] = []
    made = win_rate(
        tmp_path / "out",
        answers(tmp_path / "new", ["a"] * 6),
        answers(tmp_path / "old", ["a"] * 6),
        LIKELIHOOD,
        counting(asked),
        0,
    )
    assert [made.facts[name] for name in ("win_rate", "low", "high", "asked")] == [0.5, 0.5, 0.5, 0] and asked == []


def test_a_comparison_that_occurs_twice_is_judged_once(tmp_path: Path) -> None:
    asked: list[str] = []
    made = win_rate(
        tmp_path / "out",
        answers(tmp_path / "new", ["aa"] * 4),
        answers(tmp_path / "old", ["b"] * 4),
        LIKELIHOOD,
        counting(asked),
        0,
    )
    assert (made.facts["asked"], made.facts["n"], made.facts["win_rate"], len(asked)) == (2, 4, 1.0, 4)


@pytest.mark.parametrize("place", ["A", "B"])
def test_a_judge_that_always_names_one_place_gives_both_models_half(tmp_path: Path, place: str) -> None:
    made = win_rate(
        tmp_path / "out",
        answers(tmp_path / "new", ["a"] * 4),
        answers(tmp_path / "old", ["b"] * 4),
        JudgeConfig(),
        always(place),
        0,
    )
    assert [made.facts[name] for name in ("win_rate", "ties", "orders_agree")] == [0.5, 4, 0.0]


def test_swapping_the_models_mirrors_the_win_rate(tmp_path: Path) -> None:
    new, old = answers(tmp_path / "new", ["aaa", "b", "cc", "d"]), answers(tmp_path / "old", ["x", "yy", "z", "w"])
    there = win_rate(tmp_path / "there", new, old, LIKELIHOOD, counting([]), 0).facts
    back = win_rate(tmp_path / "back", old, new, LIKELIHOOD, counting([]), 0).facts
    assert there["win_rate"] == 1 - back["win_rate"] == 0.625


def test_other_questions_are_refused(tmp_path: Path) -> None:
    one, two = answers(tmp_path / "new", ["a", "b"]), answers(tmp_path / "old", ["a"])
    read: Callable[[], Dataset] = lambda: win_rate(tmp_path / "out", one, two, LIKELIHOOD, counting([]), 0)  # noqa: E731
    with pytest.raises(PlumblineError, match="answer different questions"):
        read()


def test_a_judge_that_likes_length_is_seen_through_at_equal_length(tmp_path: Path) -> None:
    lengths = [(3 + i % 5, 3) for i in range(200)] + [(3, 3 + i % 5) for i in range(40)]
    new = answers(tmp_path / "new", [f"{i:03d}" + "x" * a for i, (a, _) in enumerate(lengths)])
    old = answers(tmp_path / "old", [f"{i:03d}" + "y" * b for i, (_, b) in enumerate(lengths)])
    facts = win_rate(tmp_path / "out", new, old, LIKELIHOOD, counting([]), 0).facts
    controlled = facts["length_controlled"]
    assert facts["win_rate"] > 0.75 and facts["low"] > 0.7 and controlled["rate"] == pytest.approx(0.5, abs=0.06)
    assert controlled["low"] < 0.5 < controlled["high"] and 0 < facts["standard_error"] < 0.05


def test_recorded_answers_are_opponents_and_a_question_without_one_is_told(tmp_path: Path) -> None:
    new = answers(tmp_path / "new", ["long one", "long one", "a", "a"])
    file = tmp_path / "theirs.jsonl"
    lines = [{"instruction": f"question {i}", "said": {"text": "short"}} for i in range(2)]
    file.write_text("\n".join(map(json.dumps, lines)))
    config = RecordedAnswers(name="theirs", file=str(file), prompt="instruction", answer="said.text")
    theirs = recorded(tmp_path / "recorded", new, config)
    facts = win_rate(tmp_path / "out", new, theirs, LIKELIHOOD, counting([]), 0).facts
    assert [row["response"] for row in theirs.records()] == ["short"] * 4 and facts["win_rate"] == 0.5
    file.write_text(json.dumps(lines[0]))
    with pytest.raises(
        PlumblineError, match=r"no answer under 'said.text' to 2 of 4 questions of the benchmark, first 'question 1'"
    ):
        recorded(tmp_path / "again", new, config)
