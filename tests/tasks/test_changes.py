"""What a run does otherwise than its file says is kept, and never a secret with it."""

import json
from pathlib import Path

import pytest
import yaml

from data_contracts.errors import PlumblineError
from data_contracts.load_config import load_config, replaced
from data_contracts.mask import mask
from tasks.changes import Change, read_changes, round_changes, write_changes

DEMO = Path(__file__).resolve().parents[2] / "configs" / "demo.yaml"


def record(run: Path, sets: list[str], path: Path = DEMO) -> dict[str, str]:
    config = load_config(path, sets).model_dump(mode="json", by_alias=True)
    write_changes(run, replaced(path, sets), config)
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    return {change.key: str(change) for change in read_changes(run)}


def test_a_change_is_from_what_the_file_says_to_what_the_run_does(tmp_path: Path) -> None:
    found = record(tmp_path, ["align.epochs=2", "align.learning_rate=1e-3", "align.weight_decay=0.1", "rounds=2"])
    assert found == {"align.epochs": "4 → 2", "align.learning_rate": "0.0005 → 0.001", "align.weight_decay": "0.1"}


def test_what_a_group_takes_with_it_is_a_change_too(tmp_path: Path) -> None:
    found = record(tmp_path, ["align.objective={name: dpo}", "method={name: clair}"])
    assert found == {"align.objective.name": "apo_zero → dpo", "align.objective.beta": "0.5 → 0.1"}


def test_another_start_adds_to_what_is_known_and_keeps_where_it_came_from(tmp_path: Path) -> None:
    record(tmp_path, ["rounds=3", "align.epochs=2"])
    saved = tmp_path / "config.yaml"
    assert record(tmp_path, [], saved) == {"align.epochs": "4 → 2", "rounds": "2 → 3"}
    assert record(tmp_path, ["rounds=5"], saved) == {"align.epochs": "4 → 2", "rounds": "2 → 5"}
    assert record(tmp_path, ["rounds=2"], saved) == {"align.epochs": "4 → 2"}


def test_a_run_without_changes_has_no_file_of_them(tmp_path: Path) -> None:
    assert record(tmp_path, []) == {} and not (tmp_path / "changes.json").exists()


def test_what_a_form_changed_belongs_to_its_round(tmp_path: Path) -> None:
    record(tmp_path, [])
    (tmp_path / "round-2").mkdir()
    (tmp_path / "round-2" / "overrides.json").write_text(json.dumps({"align.epochs": 7, "promote.min_win_rate": 0.5}))
    assert round_changes(tmp_path, 1) == []
    assert round_changes(tmp_path, 2) == [Change("align.epochs", "4", "7")]


def test_no_secret_is_kept(tmp_path: Path) -> None:
    for address in ("https://me:word@host/v1", "https://host/v1?api_key=word"):
        assert "word" not in mask(f"it is {address}, yes")
        sets = [f"teacher={{kind: openai, model: m, base_url: '{address}'}}", "judge={kind: generation}"]
        with pytest.raises(PlumblineError, match="base_url holds more than an address"):
            load_config(DEMO, sets)
        write_changes(tmp_path, replaced(DEMO, sets), {"teacher": {"base_url": address}})
        assert "word" not in (tmp_path / "changes.json").read_text() and read_changes(tmp_path)
    assert mask("https://host/v1 and models/a@b") == "https://host/v1 and models/a@b"
