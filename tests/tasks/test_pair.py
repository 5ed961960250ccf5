"""Pairing: who is chosen, who is rejected, and nobody lost without being counted."""

from data_contracts.store import build
from tasks.pair import pair_clair, pair_judged

PROMPT = [{"role": "user", "content": "Why?"}]


def revision(i, text, revised, failure=None):
    return {
        "sample_id": f"p{i}/0",
        "prompt_id": f"p{i}",
        "prompt": PROMPT,
        "prompt_ids": [1, 2],
        "text": text,
        "token_ids": [3, i],
        "stopped": i != 0,
        "policy": "policyhash",
        "raw": "…",
        "reasoning": f"why {i}",
        "revision": revised,
        "revision_ids": None if revised is None else [4, i, 9],
        "failure": failure,
        "teacher": "t",
    }


def test_clair_prefers_the_revision_to_the_policys_own_answer(tmp_path):
    rows = [revision(0, "wrong", "right"), revision(1, "fine", "fine"), revision(2, "x", None, "cut")]
    rows.append(revision(3, " fine\n", "fine"))
    revisions = build(tmp_path / "revise", "revisions", {}, lambda _: (rows, {}))
    pairs = pair_clair(tmp_path / "pair", revisions)
    assert pairs.facts == {"pairs": 1, "unchanged": 2, "failed": 1}
    assert [{k: v for k, v in row.items() if v is not None} for row in pairs.records()] == [
        {
            "pair_id": "p0/0/clair",
            "prompt_id": "p0",
            "prompt": PROMPT,
            "prompt_ids": [1, 2],
            "chosen": "right",
            "rejected": "wrong",
            "chosen_ids": [4, 0, 9],
            "rejected_ids": [3, 0],
            "chosen_stopped": True,
            "rejected_stopped": False,
            "method": "clair",
            "reasoning": "why 0",
            "policy": "policyhash",
        }
    ]


def sample(prompt_id, index):
    return {
        "sample_id": f"{prompt_id}/{index}",
        "prompt_id": prompt_id,
        "prompt": PROMPT,
        "prompt_ids": [1],
        "index": index,
        "text": f"answer {index}",
        "token_ids": [index],
        "finish_reason": "stop",
        "stopped": index == 0,
        "seed": 0,
        "policy": "policyhash",
    }


def verdict(prompt_id, i, j, outcome, scores=(None, None)):
    return {
        "prompt_id": prompt_id,
        "first_id": f"{prompt_id}/{i}",
        "second_id": f"{prompt_id}/{j}",
        "forward": outcome,
        "backward": outcome,
        "outcome": outcome,
        "first_score": scores[0],
        "second_score": scores[1],
        "judge": "j",
    }


def judged(tmp_path, verdicts, prompts=("p",)):
    samples = build(tmp_path / "sample", "samples", {}, lambda _: ([sample(p, i) for p in prompts for i in range(3)], {}))
    return pair_judged(tmp_path / "pair", samples, build(tmp_path / "judge", "verdicts", {}, lambda _: (verdicts, {})))


def test_the_judges_winner_is_chosen_with_its_own_tokens(tmp_path):
    (pair,) = judged(tmp_path, [verdict("p", 0, 1, "second")]).records()
    assert (pair["chosen"], pair["rejected"]) == ("answer 1", "answer 0")
    assert (pair["chosen_ids"], pair["rejected_ids"]) == ([1], [0])
    assert (pair["chosen_stopped"], pair["rejected_stopped"]) == (False, True)
    assert (pair["method"], pair["margin"], pair["pair_id"]) == ("on_policy_judge", None, "p/judged")


def test_the_widest_margin_makes_the_prompts_one_pair(tmp_path):
    verdicts = [
        verdict("p", 0, 1, "first", (-1.0, -2.0)),
        verdict("p", 0, 2, "second", (-9.0, -3.0)),
        verdict("p", 1, 2, "tie", (0.0, -50.0)),
    ]
    (pair,) = judged(tmp_path, verdicts).records()
    assert (pair["chosen"], pair["rejected"], pair["margin"]) == ("answer 2", "answer 0", 6.0)


def test_without_scores_the_first_decided_comparison_counts(tmp_path):
    pairs = judged(tmp_path, [verdict("p", 0, 1, "tie"), verdict("p", 0, 2, "first"), verdict("p", 1, 2, "second")])
    assert [(r["chosen"], r["rejected"]) for r in pairs.records()] == [("answer 0", "answer 2")]


def test_prompts_without_a_decision_are_counted(tmp_path):
    verdicts = [verdict("p", 0, 1, "tie"), verdict("q", 0, 1, "first")]
    pairs = judged(tmp_path, verdicts, prompts=("p", "q", "r"))
    assert pairs.facts == {"pairs": 1, "undecided": 1, "single": 1}
    assert [r["prompt_id"] for r in pairs.records()] == ["q"]


def test_nothing_to_pair_is_an_empty_dataset_not_a_crash(tmp_path):
    assert judged(tmp_path, [verdict("p", 0, 1, "tie")]).rows == 0
