"""A champion picked among close rivals is said to be one; a clear winner, or the only one, is not."""

from pathlib import Path

import numpy as np

from data_contracts.store import Rows, build
from tasks.promote import Decision, write_decision
from tasks.score import metrics
from tasks.selection import selection_note, write_selection


def run_of(folder: Path, *means: float, promoted: int) -> Path:
    """A run whose models answer 300 questions, right with these chances; round `promoted` is champion."""
    for k, mean in enumerate(means):
        right = np.random.default_rng(k).permutation(300) < 300 * mean
        rows: Rows = [
            {"question_id": str(i), "split": "free-form", "benchmark": "b", "question": str(i), "parsed": "x", "score": float(r)}
            for i, r in enumerate(right)
        ]
        build(folder / f"round-{k}" / "evaluate", "answers", {"k": k}, lambda _, rows=rows: (filled(rows), metrics(rows)))
        if k:
            write_decision(folder / f"round-{k}" / "decision.json", Decision(k == promoted, "", {}))
    write_selection(folder)
    return folder


def filled(rows: Rows) -> Rows:
    rest = {"prompt": "", "prompt_ids": [1], "response": "", "token_ids": [1], "stopped": True}
    return [row | rest for row in rows]


def test_the_best_of_close_rivals_is_expected_to_do_worse_elsewhere(tmp_path: Path) -> None:
    note = selection_note(run_of(tmp_path, 0.50, 0.50, 0.51, promoted=2))
    assert note is not None and "best of 3 models" in note
    assert 0.005 < float(note.split("about ")[1].split()[0]) < 0.05


def test_a_clear_winner_a_champion_that_is_not_the_best_and_a_single_round_are_left_alone(tmp_path: Path) -> None:
    assert selection_note(run_of(tmp_path / "a", 0.2, 0.5, 0.9, promoted=2)) is None
    assert selection_note(run_of(tmp_path / "b", 0.50, 0.50, 0.51, promoted=1)) is None
    assert selection_note(run_of(tmp_path / "c", 0.50, 0.51, promoted=1)) is None
    write_selection(tmp_path)  # a run without rounds has nothing to say
    assert selection_note(tmp_path) is None
