"""A round starts from the model promoted last, unless somebody rolled back since."""

import json
import shutil
from pathlib import Path

import pytest

from data_contracts.errors import PlumblineError
from tasks.lineage import champion_folder, champions, read_rollbacks, roll_back, standing, told
from tests.tasks.run_folder import make_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two rounds, both promoted."""
    folder = make_run(tmp_path / "run")
    for number in (1, 2):
        model = folder / f"round-{number}" / "align" / "model"
        model.mkdir()
        (model / "config.json").write_text("{}")
        (model / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")  # no tensors
    return folder


def decide(run: Path, number: int, promoted: bool) -> None:
    path = run / f"round-{number}" / "decision.json"
    path.write_text(json.dumps(json.loads((run / "round-1" / "decision.json").read_text()) | {"promoted": promoted}))


def test_the_next_round_starts_from_where_the_rollback_went(run: Path) -> None:
    assert champions(run) == [0, 1, 2]
    assert told(run) == "champion: round-2"
    assert champion_folder(run) == run / "round-2" / "align" / "model"
    roll_back(run, None, "worse in use")
    assert champions(run) == [0, 1]
    assert champion_folder(run) == run / "round-1" / "align" / "model"
    assert standing(run, None, 3).round == 1  # type: ignore[arg-type]
    assert standing(run, None, 2).round == 1  # type: ignore[arg-type]
    assert champions(run, 2) == [0, 1]
    assert [r.reason for r in read_rollbacks(run)] == ["worse in use"]
    assert told(run).startswith("champion: round-1, rolled back from round-2 at 20") and told(run).endswith(": worse in use")


def test_the_same_rollback_twice_changes_nothing(run: Path) -> None:
    assert roll_back(run, None, "worse in use") is not None
    before = (run / "rollbacks.json").read_bytes()
    assert roll_back(run, None, "worse in use") is None
    assert roll_back(run, 1, "worse in use") is None
    assert (run / "rollbacks.json").read_bytes() == before
    assert roll_back(run, 0, "so is this one") is not None
    assert champions(run) == [0]
    assert roll_back(run, None, "again") is None


def test_a_rollback_can_be_taken_back(run: Path) -> None:
    roll_back(run, 0, "both are worse")
    roll_back(run, 2, "a mistake")
    assert champions(run) == [0, 2]


def test_what_is_promoted_later_stands_again(run: Path) -> None:
    roll_back(run, None, "worse in use")
    shutil.copytree(run / "round-2", run / "round-3")
    decide(run, 3, True)
    assert champions(run) == [0, 1, 3]
    assert roll_back(run, None, "this one too") is not None
    assert champions(run) == [0, 1]


def test_nothing_to_go_back_to_is_said(run: Path) -> None:
    with pytest.raises(PlumblineError, match="needs a reason"):
        roll_back(run, None, " ")
    decide(run, 2, False)
    with pytest.raises(PlumblineError, match=r"round-2 never was champion: roll back to one of the start .round-0., round-1"):
        roll_back(run, 2, "x")
    (run / "round-3").mkdir()
    with pytest.raises(PlumblineError, match="round 3 has begun"):
        roll_back(run, 0, "x")
    assert roll_back(run, 1, "x") is None  # it is champion anyway
    decide(run, 1, False)
    with pytest.raises(PlumblineError, match="nothing to roll back to"):
        roll_back(run, None, "x")
    assert not (run / "rollbacks.json").exists()
