"""Small, complete run folders, built through the real dataset store from made-up rows: for tests of what reads a run."""

import json
import math
from pathlib import Path
from typing import Any

import yaml

from data_contracts.config_evaluate import PromoteConfig
from data_contracts.store import Dataset, Rows, build
from models.text_measures import sizes
from tasks.promote import decide, write_decision
from tasks.rank import ranking_accuracy
from tasks.score import metrics

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "{{ 7 * 7 }} {% raw %} &amp; \"quoted\" 'single' \u2028 --> <!-- ]]>",
)
CONFIG = {
    "flow": "rounds",
    "name": "demo",
    "seed": 0,
    "policy": "student",
    "method": "clair",
    "align": {"objective": {"name": "apo_zero", "beta": 0.5}},
}
CONTRAST = {"token_jaccard": 0.67, "character_edits": 3.2, "character_similarity": 0.9, "shared_prefix": 0.4}
CONTRAST |= {"length_ratio": 1.02, "chosen_longer": 0.4, "near_identical": 0.01}


def make_run(run: Path, rounds: int = 2, until: str = "promote") -> Path:
    """A run of `rounds` rounds whose last round ends with the stage `until`."""
    run.mkdir(parents=True)
    config = CONFIG | {"rounds": rounds, "evaluate": {"benchmark": "embedded-1", "parser": "strict-1"}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    champion = answers(run / "round-0" / "evaluate", 0)
    for k in range(1, rounds + 1):
        champion = _round(run / f"round-{k}", k, champion, until if k == rounds else "promote")
    return run


def make_human_run(run: Path) -> Path:
    run.mkdir(parents=True)
    config = {
        "flow": "human_pairs",
        "name": "human",
        "policy": "student",
        "pairs": {"file": "hh.jsonl"},
        "align": CONFIG["align"],
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    raw = build(run / "import", "pairs", {}, lambda _: (pairs(1, "human"), {"read": 40}))
    clean = gate(run / "validate_pairs", raw)
    train = build(run / "train", "pairs", {"part": "train"}, lambda _: (clean.records()[:30], {}), [clean])
    held_out = build(run / "held_out", "pairs", {"part": "held_out"}, lambda _: (clean.records()[30:], {}), [clean])
    _rank(run / "rank_before", held_out, 0.0)
    steps(run / "align", train, 1)
    _rank(run / "rank_after", held_out, 1.5)
    return run


def _round(folder: Path, k: int, champion: Dataset, until: str) -> Dataset:
    prompts = build(folder / "prompts", "prompts", {"k": k}, lambda _: ([], {}))
    asked = gate(folder / "validate_prompts", prompts)
    samples = build(folder / "sample", "samples", {"k": k}, lambda _: ([], {"stopped": 0.98}), [asked])
    gate(folder / "validate_samples", samples)
    revisions = build(
        folder / "revise",
        "revisions",
        {"k": k},
        lambda _: ([], {"parsed": 40, "changed": 36, "unchanged": 4, "teacher": USED}),
        [samples],
    )
    gate(folder / "validate_revisions", revisions)
    pair = build(
        folder / "pair", "pairs", {"k": k}, lambda _: (pairs(k), {"pairs": 40, "unchanged": 4, "failed": 1}), [revisions]
    )
    clean = gate(folder / "validate_pairs", pair)
    if until == "pair":
        return champion
    steps(folder / "align", clean, k)
    new = answers(folder / "evaluate", k)
    wins = build(folder / "win_rate", "verdicts", {"k": k}, lambda _: ([], WIN_RATE), [new, champion], {"teacher": "teacher"})
    decision = decide(new, champion, wins, PromoteConfig())
    write_decision(folder / "decision.json", decision)
    return new if decision.promoted else champion


USED = {"calls": 40, "cached": 10, "input_tokens": 3000, "output_tokens": 600, "cost": 0.021}
WIN_RATE = {
    "win_rate": 0.64,
    "low": 0.6,
    "high": 0.68,
    "wins": 40,
    "losses": 12,
    "ties": 48,
    "n": 100,
    "judge": "likelihood/teacher",
    "asked": 52,
    "orders_agree": 1.0,
}


def answers(folder: Path, k: int) -> Dataset:
    """Of 100 questions, 80 of them distinct, 40 + 20 k are right (at most 80)."""
    rows = [
        {
            "question_id": f"{split}/{i}",
            "split": split,
            "benchmark": "cmp" if i % 2 else "mc",
            "question": f"q{i % 80}",
            "prompt": f"question {i % 80}",
            "prompt_ids": [1, 2],
            "response": f"answer {k}",
            "token_ids": [3] * (5 + k),
            "stopped": True,
            "parsed": None if i % 20 == 0 else "x",
            "score": float(i % 80 < min(40 + 20 * k, 80) and i % 20 != 0),
        }
        for i in range(100)
        for split in ["free-form" if i % 80 < 50 else "multiple-choice"]
    ]
    facts = {"benchmark": "embedded-1", "parser": "strict-1"} | metrics(rows) | sizes(rows)
    return build(folder, "answers", {"k": k}, lambda _: (rows, facts), models={"policy": f"hash{k}"})


def pairs(k: int, method: str = "clair") -> Rows:
    def row(i: int) -> dict[str, Any]:
        hostile = HOSTILE[i % 3] if i < 6 else ""
        return {
            "pair_id": f"p{k}-{i}",
            "prompt_id": f"p{k}-{i}",
            "prompt": [{"role": "user", "content": f"What is {i} plus {k}? {hostile}"}],
            "prompt_ids": [1],
            "chosen": f"Sure, {i} plus {k} is {i + k}. {hostile}",
            "rejected": f"Sure, {i} plus {k} is {i + k + 1}. {hostile}" if i % 5 else "I do not know anything about that.",
            "chosen_ids": [1, 2],
            "rejected_ids": [1, 3],
            "chosen_stopped": True,
            "rejected_stopped": True,
            "method": method,
            "margin": None,
            "reasoning": f"The sum is wrong. {hostile}" if method == "clair" else "",
            "policy": f"hash{k - 1}",
        }

    return [row(i) for i in range(40)]


def gate(folder: Path, data: Dataset) -> Dataset:
    """As tasks.validate leaves it: the first row, if any, is quarantined."""

    def make(work: Path) -> tuple[Rows, dict[str, Any]]:
        rows = data.records()
        entry = {"contract": "answers_differ", "why": "Equal answers teach nothing.", "scope": "row", "severity": "quarantine"}
        contracts = [
            entry
            | {"kept": not rows, "checked": len(rows), "broken": len(rows[:1]), "examples": [f"{HOSTILE[0]}"] if rows else []},
            entry | {"contract": "short_enough", "kept": True, "checked": len(rows), "broken": 0, "examples": []},
            {
                "contract": "enough_rows",
                "why": "Too few to train on.",
                "scope": "count",
                "severity": "fail",
                "kept": True,
                "checked": len(rows),
                "observed": float(len(rows[1:])),
            },
        ]
        report = {"checked": len(rows), "kept": len(rows[1:]), "quarantined": len(rows[:1]), "contracts": contracts}
        (work / "gate.json").write_text(json.dumps(report))
        return rows[1:], {"kept": len(rows[1:]), "quarantined": len(rows[:1]), "warnings": [], "metrics": CONTRAST}

    return build(folder, data.kind, {}, make, [data])


def steps(folder: Path, data: Dataset, k: int, n: int = 60) -> Dataset:
    def row(i: int) -> dict[str, Any]:
        t = i / n
        wiggle = 0.05 * math.sin(9 * i)
        return {
            "step": i + 1,
            "epoch": 4 * t,
            "loss": math.exp(-2 * t) + wiggle,
            "chosen_logp": -5 + t,
            "rejected_logp": -6 - t,
            "chosen_logratio": 1.5 * t + wiggle,
            "rejected_logratio": -4 * t + wiggle,
            "margin": 5.5 * t,
            "accuracy": 0.5 + 0.5 * t,
            "gradient_norm": None,
            "learning_rate": 5e-4 * (1 - t),
            "tokens_per_second": 9000.0,
        }

    facts = {
        "objective": "apo_zero",
        "pairs": data.rows,
        "steps": n,
        "epochs": 4,
        "effective_batch": 32,
        "tokens_per_second": 9000.0,
    }
    facts |= {"verdict": "chosen answers became more likely, rejected less likely", "model_hash": f"hash{k}"}
    made = lambda _: ([row(i) for i in range(n)], facts)  # noqa: E731
    return build(folder, "steps", {"k": k, "learning_rate": 5e-4}, made, [data], {"policy": f"hash{k - 1}", "reference": "hash0"})


def _rank(folder: Path, data: Dataset, shift: float) -> Dataset:
    rows = [
        {
            "pair_id": row["pair_id"],
            "chosen_logp": -10 + shift * (i % 3),
            "rejected_logp": -9.5,
            "chosen_tokens": 9,
            "rejected_tokens": 8,
        }
        for i, row in enumerate(data.records())
    ]
    return build(folder, "rankings", {}, lambda _: (rows, ranking_accuracy(rows)), [data], {"policy": f"hash{shift}"})
