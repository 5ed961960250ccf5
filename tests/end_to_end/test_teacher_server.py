"""A round with the policy in the run's own engine and the teacher in a vLLM server of its own beside it."""

from pathlib import Path

import pytest

from data_contracts.store import open_dataset
from models.journal import Journal, find_journal
from tasks.spending import spending
from tests.end_to_end.command import SMALL, left_running, plumbline

TEACHER = "teacher={kind: vllm, model: models/embedded/teacher, max_model_len: 512}"
JUDGE = "judge={kind: generation, verdict: probability}"


@pytest.mark.services  # two starts of vLLM: minutes
def test_engine_and_teacher_server_work_side_by_side(tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = [*SMALL, "--set", "rounds=1", "--set", TEACHER, "--set", JUDGE]
    done = plumbline(tmp_path, "run", "configs/demo.yaml", "--run-dir", str(run), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    revised, judged = open_dataset(run / "round-1" / "revise"), open_dataset(run / "round-1" / "win_rate")
    assert revised.facts["parsed"] == revised.rows == revised.facts["teacher"]["calls"] == 240
    assert judged.facts["teacher"]["calls"] == 2 * judged.facts["asked"] > 0  # both ways round
    used = spending(run)["usage"]
    tokens, _ = Journal(*find_journal(run)).spent()
    assert used["cached"] == 0 and used["input_tokens"] + used["output_tokens"] == tokens > 0
    assert (run / "round-1" / "decision.json").exists()
    assert left_running(tmp_path) == []
    again = plumbline(tmp_path, "run", "configs/demo.yaml", "--run-dir", str(run), *arguments)
    assert again.returncode == 0 and Journal(*find_journal(run)).spent()[0] == tokens  # nothing is asked again
