"""A comparison says what changed and claims a difference only where the same questions show one."""

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from data_contracts.errors import PlumblineError
from data_contracts.made_with import made_with
from data_contracts.plain import safe
from data_contracts.store import build, open_dataset
from models.text_measures import sizes
from tasks.compare import compare, gains, open_side
from tasks.compare_text import render
from tasks.score import metrics
from tests.tasks.run_folder import answers, make_human_run, make_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def beside(a: object, b: object) -> dict:  # type: ignore[type-arg]
    return compare(open_side(str(a)), open_side(str(b)))


def of(found: dict, metric: str) -> dict:  # type: ignore[type-arg]
    return next(row for row in found["scores"] if row["metric"] == f"embedded-1.strict-1.{metric}")


def shown(found: dict) -> str:  # type: ignore[type-arg]
    console = Console(width=200, record=True)
    for part in render(found):
        console.print(part)
    return console.export_text()


def test_a_gain_is_significant_and_nothing_is_not(run: Path) -> None:
    found = beside(f"{run}#round-0", f"{run}#round-1")
    overall = of(found, "overall")
    assert overall["gain"] == pytest.approx(overall["b"] - overall["a"]) and overall["gain"] > 0.1
    assert overall["significant"] and overall["low"] > 0
    same = of(beside(f"{run}#round-1", f"{run}#round-1"), "overall")
    assert (same["gain"], same["significant"]) == (0.0, False)
    back = of(beside(f"{run}#round-1", f"{run}#round-0"), "overall")
    assert (back["low"], back["high"]) == pytest.approx((-overall["high"], -overall["low"]), abs=0.02)


def test_a_part_of_few_questions_or_one_of_many_parts_is_not_significant_by_chance() -> None:
    def rows(scores: list[float]) -> list[dict]:  # type: ignore[type-arg]
        return [{"question_id": str(i), "question": str(i), "score": score} for i, score in enumerate(scores)]

    none, lucky, better = [0.0] * 40, [1.0] * 6 + [0.0] * 34, [1.0] * 20 + [0.0] * 20
    few = {name: (rows([0.0] * 3), rows([1.0] * 3)) for name in ("overall", "MBPP")}
    assert [(row["low"], row["significant"]) for row in gains(few)] == [
        (1.0, False)
    ] * 2  # three coins: p = 1/4, whatever a bootstrap says
    many = gains({name: (rows(none), rows(lucky)) for name in ("overall", *map(str, range(17)))})
    assert [row["significant"] for row in many] == [True] + [False] * 17 and all(row["low"] > 0 for row in many)
    clear = gains({name: (rows(none), rows(better)) for name in ("overall", *map(str, range(17)))})
    assert all(row["significant"] for row in clear)


def test_what_became_right_and_wrong_is_counted_and_shown(run: Path) -> None:
    found = beside(f"{run}#round-0", f"{run}#round-1")["answers"]
    assert found["right_to_wrong"] == {"answers": 0, "examples": []}
    assert found["wrong_to_right"]["answers"] > 10
    example = found["wrong_to_right"]["examples"][0]
    assert (example["a"], example["b"], example["score_a"], example["score_b"]) == ("answer 0", "answer 1", 0.0, 1.0)


def test_a_folder_alone_means_its_champion(run: Path) -> None:
    from tasks.lineage import roll_back

    assert beside(run, run)["a"]["round"] == 2
    roll_back(run, 1, "worse in use")
    assert beside(run, run)["a"]["round"] == 1


def test_configuration_data_and_win_rate_are_set_beside_each_other(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", 1)
    text = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(text.replace("beta: 0.5", "beta: 0.1"))
    pairs = other / "round-1" / "pair" / "manifest.json"
    pairs.write_text(json.dumps(json.loads(pairs.read_text()) | {"made_with": made_with() | {"torch": "3.0"}}))
    found = beside(run, other)
    assert found["software"] == [{"what": "torch", "a": made_with()["torch"], "b": f"{made_with()['torch']}, 3.0"}]
    assert {"key": "align.objective.beta", "a": 0.5, "b": 0.1} in found["config"]
    assert {row["key"] for row in found["config"]} == {"align.objective.beta", "rounds"}
    data = {row["what"]: (row["a"], row["b"]) for row in found["data"]}
    assert data["pairs kept"] == (39, 39) and data["token jaccard"] == (0.67, 0.67)
    assert data["started from"] == ("hash1", "hash0")
    rates = beside(f"{run}#round-1", f"{run}#round-2")["win_rates"]
    assert [rate["against"] for rate in rates] == ["the champion it met", f"{run}#round-1"]
    printed = shown(found)
    assert "align.objective.beta" in printed and "A is better" in printed and "likelihood/teacher" in printed
    json.dumps(found)


def test_scores_of_other_parsers_or_questions_are_not_compared(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", 1)
    folder = other / "round-0" / "evaluate"
    rows = [row | {"score": 1.0} for row in answers(tmp_path / "rows", 0).records()]
    for parser, rows_, note in (
        ("rule-1", rows, "not comparable"),
        ("strict-1", [row | {"question": f"other {row['question']}"} for row in rows], "share no question"),
    ):
        (folder / "manifest.json").unlink()
        facts = {"benchmark": "embedded-1", "parser": parser} | metrics(rows_) | sizes(rows_)
        build(folder, "answers", {"parser": parser}, lambda _, made=(rows_, facts): made, models={"policy": "x"})
        found = beside(run, f"{other}#round-0")
        assert found["scores"] == [] and found["answers"] is None
        assert note in found["notes"][0]


def test_human_pairs_are_compared_by_ranking(tmp_path: Path, run: Path) -> None:
    human = make_human_run(tmp_path / "human")
    (score,) = beside(human, human)["scores"]
    assert (score["metric"], score["gain"], score["significant"]) == ("ranking accuracy", 0.0, False)
    with pytest.raises(PlumblineError, match="different flows"):
        beside(human, run)
    other = make_human_run(tmp_path / "other")
    rows = [row | {"prompt": [{"role": "user", "content": "another"}]} for row in open_dataset(human / "held_out").records()]
    shutil.rmtree(other / "held_out")
    build(other / "held_out", "pairs", {}, lambda _: (rows, {}))
    shutil.rmtree(other / "rank_after")
    with pytest.raises(PlumblineError, match="no finished rank_after: let the run go on, or name another run"):
        open_side(str(other))
    shutil.copytree(human / "rank_after", other / "rank_after")
    found = beside(human, other)  # the same lines of another file
    assert found["scores"] == [] and "held out different pairs" in found["notes"][0]
    text = shown(found)
    assert "note: A and B held out different pairs" in text and "scores" not in text and "Holm" not in text


def test_what_is_not_there_is_said(run: Path) -> None:
    for place, sentence in (
        ("#round-7", "no finished evaluate"),
        ("#7", "is not the name of a round"),
        ("/nowhere", "holds no run"),
    ):
        with pytest.raises(PlumblineError, match=sentence):
            open_side(f"{run}{place}")


def test_a_folder_may_be_called_as_it_likes(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "é #2", 1)
    assert [open_side(f"{folder}{place}").round for place in ("", "#round-0", "#round-1")] == [1, 0, 1]


def test_an_answer_cannot_command_the_terminal(run: Path) -> None:
    assert safe("a\x1b[2J\x07b\r\nc\u202e") == "a [2J b c"
    assert len(safe("x" * 10_000)) < 300
    found = beside(f"{run}#round-0", f"{run}#round-1")
    found["answers"]["wrong_to_right"]["examples"][0]["b"] = "[bold red]not markup[/] \x1b[31m"
    found["scores"][0]["metric"] = found["answers"]["wrong_to_right"]["examples"][0]["question_id"] = "id \x1b[32m"
    assert "[bold red]not markup[/] [31m" in shown(found) and "id [32m" in shown(found) and "\x1b" not in shown(found)
