"""What is added to pairs: the judge's scores, further answers, changed prompts, other prompts' answers."""

import math

import pytest

from data_contracts.config_judge import JudgeConfig
from data_contracts.config_pairs import SampleConfig
from data_contracts.store import build
from models.checkpoint import load_tokenizer
from models.engine import quiet
from models.journal import Reply
from models.objectives.batch import Need
from models.teacher import Teacher
from tasks.complete import INSTRUCTIONS, complete
from tasks.replay import replay
from tasks.sample_others import Writer, sample_others
from tasks.score_pairs import by_likelihood, score_pairs
from tests.pairs_dataset import full_rows, pair_rows, pairs_dataset
from tests.tasks.test_judge import judging, longer


@pytest.fixture
def pairs(tiny, tmp_path):
    return pairs_dataset(tmp_path / "pairs", tiny, 4)


def likelihoods(values):
    return Teacher("teacher", lambda *_: [], lambda conversations, answers: [values[a] for a in answers])


def test_the_likelihood_judges_scores_are_log_probabilities_a_token(pairs, tmp_path):
    rows = pairs.records()
    values = {
        r[side]: -float(len(r[f"{side}_ids"]) * (1 if side == "chosen" else 3)) for r in rows for side in ("rejected", "chosen")
    }
    scored = score_pairs(tmp_path / "scored", pairs, JudgeConfig(kind="likelihood"), likelihoods(values), 0, quiet)
    for before, row in zip(rows, scored.records(), strict=True):
        n, m = len(row["chosen_ids"]), len(row["rejected_ids"])
        assert row["chosen_score"] == pytest.approx(values[row["chosen"]] / n)
        assert row["rejected_score"] == pytest.approx(values[row["rejected"]] / m)
        assert row["win_probability"] == pytest.approx(1 / (1 + math.exp(values[row["rejected"]] - values[row["chosen"]])))
        assert row["margin"] == pytest.approx(row["chosen_score"] - row["rejected_score"])
        assert 0 <= row["uncertainty"] <= math.log(2)
        assert {k: v for k, v in row.items() if v == before[k]}.keys() >= {"pair_id", "chosen_ids", "rejected_ids", "prompt"}
    assert 0 <= scored.facts["chosen_better"] <= 1


def test_doubt_is_how_far_the_readings_disagree():
    """Sums and means agree for equal lengths of one token, and disagree where the longer answer is the likelier a token."""
    assert by_likelihood(-1.0, -3.0, 1, 1)["uncertainty"] == pytest.approx(0.0, abs=1e-12)
    shorter_wins = by_likelihood(-300.0, -200.0, 300, 100)  # by sums the rejected answer, a token the chosen one
    assert shorter_wins["win_probability"] < 1e-20 and shorter_wins["margin"] == pytest.approx(1.0)
    assert shorter_wins["uncertainty"] > 0.2


def test_a_judge_that_compares_gives_the_share_of_its_votes(pairs, tmp_path):
    scored = score_pairs(tmp_path / "scored", pairs, JudgeConfig(), judging(longer), 0, quiet)
    for row in scored.records():
        gap = len(row["chosen"].strip()) - len(row["rejected"].strip())
        assert row["win_probability"] == (1.0 if gap > 0 else 0.0 if gap < 0 else 0.5)
        assert row["chosen_score"] is None and row["margin"] is None


def test_another_rubric_scores_the_pairs_anew_and_what_that_costs_is_told(pairs, tmp_path):
    rubric = tmp_path / "rubric.yaml"
    rubric.write_text("name: mine\ncriteria:\n  - text: is short\n")
    config, keys = JudgeConfig(kind="pointwise", rubric=str(rubric)), []
    replies = [Reply("{final_score}: 7", "stop", 5, 2, key=str(i)) for i in range(8)]
    scoring = Teacher("t", lambda conversations, *_: replies[: len(conversations)], bill=lambda keys, _: set(keys))
    for place in ("one", "two"):
        made = score_pairs(tmp_path / place, pairs, config, scoring, 0, quiet)
        assert made.manifest["config"]["template"] == "score-1"  # what MLflow's prompt registry is told
        assert made.facts["teacher"]["calls"] == 8 and made.facts["teacher"]["input_tokens"] == 40
        keys.append(made.key)
        rubric.write_text(rubric.read_text() + "  - text: is true\n")
    assert keys[0] != keys[1]


def test_what_a_recorded_pair_brought_along_stays(tiny, tmp_path):
    rows = [row | {"method": "recorded", "chosen_score": 7.0, "uncertainty": None} for row in full_rows(tiny, 3)]
    values = {r[side]: -1.0 - len(r[side]) for r in rows for side in ("chosen", "rejected")}
    given = pairs_dataset(tmp_path / "pairs", tiny, 3, rows=rows)
    scored = score_pairs(tmp_path / "s", given, JudgeConfig(kind="likelihood"), likelihoods(values), 0, quiet).records()
    assert [r["chosen_score"] for r in scored] == [7.0] * 3 and all(r["uncertainty"] is not None for r in scored)
    assert [r["win_probability"] for r in scored] == [r["win_probability"] for r in rows]


@pytest.mark.parametrize("lacking", ["chosen_score", "rejected_score", "win_probability", "uncertainty"])
def test_what_only_some_recorded_pairs_brought_along_is_the_judges_for_all(tiny, tmp_path, lacking):
    """A judge's log-probabilities beside somebody's points out of ten would be two scales in one column."""
    rows = [row | {"method": "recorded", "chosen_score": 9.0, "rejected_score": 7.0, "margin": 2.0} for row in full_rows(tiny, 3)]
    rows[1] = rows[1] | {lacking: None, "margin": None}
    values = {r[side]: -1.0 - len(r[side]) for r in rows for side in ("chosen", "rejected")}
    given = pairs_dataset(tmp_path / "pairs", tiny, 3, rows=rows)
    made = score_pairs(tmp_path / "s", given, JudgeConfig(kind="likelihood"), likelihoods(values), 0, quiet)
    together = {"chosen_score", "rejected_score", "margin"} if "score" in lacking else {lacking}
    for row, before in zip(made.records(), rows, strict=True):
        told = by_likelihood(values[row["chosen"]], values[row["rejected"]], len(row["chosen_ids"]), len(row["rejected_ids"]))
        assert {name: row[name] for name in together} == pytest.approx({name: told[name] for name in together})
        kept = {"chosen_score", "rejected_score", "win_probability", "uncertainty"} - together
        assert {name: row[name] for name in kept} == {name: before[name] for name in kept}
    assert made.facts["rescored"] == (3 if "score" in lacking else 2)


def further(tmp_path, tiny, rows):
    made = [
        {
            "sample_id": f"{r['prompt_id']}/other-{i}",
            "prompt_id": r["prompt_id"],
            "prompt": r["prompt"],
            "prompt_ids": r["prompt_ids"],
        }
        | {"index": i, "text": "x", "token_ids": [50 + i, k], "finish_reason": "stop", "stopped": True, "seed": 0, "policy": "w"}
        for k, r in enumerate(rows)
        for i in (0, 1)
        if not (k == 2 and i == 1)
    ]
    return build(tmp_path / "further", "samples", {}, lambda _: (made, {}))


def test_further_answers_join_by_prompt_and_pairs_without_one_are_counted(tiny, pairs, tmp_path):
    needs, writers = Need.GOLD | Need.BASE | Need.PAIR, {Need.GOLD: 0, Need.BASE: 1}
    made = complete(tmp_path / "c", pairs, needs, further(tmp_path, tiny, pairs.records()), writers, tiny, 0)
    rows = made.records()
    assert [r["gold_ids"] for r in rows] == [[50, 0], [50, 1], [50, 3]] and [r["base_ids"][0] for r in rows] == [51] * 3
    assert made.facts["left_out"] == {"gold_ids": 0, "base_ids": 1}


def test_replayed_pairs_get_further_answers_and_a_prompt_of_two_pairs_is_asked_once(tiny, tmp_path):
    new, old, again = (row | {"round": r} for row, r in zip(pair_rows(tiny, 3), (2, 1, 2), strict=True))
    again |= {name: new[name] for name in ("prompt_id", "prompt", "prompt_ids")}
    now = pairs_dataset(tmp_path / "now", tiny, 2, rows=[new, again])
    before = pairs_dataset(tmp_path / "before", tiny, 1, rows=[old])
    pairs = replay(tmp_path / "replay", now, {1: before}, (1.0,), tiny.hash, 0)
    asked = []

    def answer(rows, *_):
        asked.extend(row["prompt"] for row in rows)
        return [(f"gold {i}", "stop", None) for i, _ in enumerate(rows)]

    gold = sample_others(tmp_path / "further", pairs, SampleConfig(max_tokens=9), [Writer("teacher", 0.0, answer)], tiny, 0)
    made = complete(tmp_path / "c", pairs, Need.GOLD, gold, {Need.GOLD: 0}, tiny, 0)
    assert asked == [new["prompt"], old["prompt"]] and made.facts["left_out"] == {"gold_ids": 0}
    tokenizer = load_tokenizer(tiny.path)
    answers = [tokenizer.decode(row["gold_ids"], skip_special_tokens=True) for row in made.records()]
    assert answers == ["gold 0", "gold 0", "gold 1"] and [row["round"] for row in made.records()] == [2, 2, 1]


def test_across_prompts_a_pair_is_on_policy_only_if_the_policy_wrote_both_its_new_sides(tiny, tmp_path):
    """Without that the first pair, whose rejected answer now is an earlier policy's, would still be called on-policy."""
    scores = {"chosen_score": 1.0, "rejected_score": 0.0}
    writers = [(tiny.hash, tiny.hash), (tiny.hash, "earlier"), ("earlier", tiny.hash)]
    rows = [
        row | scores | {"chosen_policy": c, "policy": r, "on_policy": c == r == tiny.hash}
        for row, (c, r) in zip(pair_rows(tiny, 3), writers, strict=True)
    ]
    given = pairs_dataset(tmp_path / "pairs", tiny, 3, rows=rows)
    made = complete(tmp_path / "c", given, Need.TWO_PROMPTS, None, {}, tiny, 0).records()
    assert [(r["chosen_policy"], r["policy"]) for r in made] == [
        (tiny.hash, "earlier"),
        (tiny.hash, tiny.hash),
        ("earlier", tiny.hash),
    ]
    assert [r["on_policy"] for r in made] == [False, True, False]


def test_a_changed_prompt_asks_for_what_the_chosen_answer_does_not_do(tiny, pairs, tmp_path):
    rows = complete(tmp_path / "c", pairs, Need.REPROMPT, None, {}, tiny, 0).records()
    again = complete(tmp_path / "d", pairs, Need.REPROMPT, None, {}, tiny, 0).records()
    tokenizer = load_tokenizer(tiny.path)
    for row in rows:
        text = tokenizer.decode(row["reprompt_ids"], skip_special_tokens=True)
        (added,) = [i for i in INSTRUCTIONS if i[0] in text]
        assert not added[1](row["chosen"]) and row["prompt"][-1]["content"] in text
    assert [r["reprompt_ids"] for r in rows] == [r["reprompt_ids"] for r in again]
    assert len({len(r["reprompt_ids"]) for r in rows} | {1}) > 1
    for text in ("ALL CAPITALS", "small letters", "Certainly", "tic tac?", ""):  # no text follows them all
        assert not all(follows(text) for _, follows in INSTRUCTIONS)


def test_across_prompts_the_better_scored_answer_is_chosen(tiny, tmp_path):
    rows = [r | {"chosen_score": -0.1 - i, "rejected_score": -2.0} for i, r in enumerate(pair_rows(tiny, 4))]
    given = pairs_dataset(tmp_path / "pairs", tiny, 4, rows=rows)
    made = complete(tmp_path / "c", given, Need.TWO_PROMPTS, None, {}, tiny, 0)
    kept, by_prompt = made.records(), {tuple(r["prompt_ids"]): r for r in rows}
    assert len(kept) == 2 and made.facts["left_out"] == {"rejected_prompt_ids": 2}  # -2.1 and -3.1 are below -2
    for row in kept:
        other = by_prompt[tuple(row["rejected_prompt_ids"])]
        assert other["prompt_id"] != row["prompt_id"] and row["rejected_ids"] == other["rejected_ids"]
        assert row["chosen_score"] > row["rejected_score"] == -2.0
