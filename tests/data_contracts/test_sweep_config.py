"""A sweep is every combination of its axes, each a checked configuration, or one sentence."""

from pathlib import Path

import pytest
import yaml

from data_contracts.config_sweep import load_sweep
from data_contracts.errors import PlumblineError
from data_contracts.load_config import load_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def write(tmp_path: Path, **keys: object) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"name": "small", "base": str(CONFIGS / "demo.yaml"), "grid": {"seed": [0, 1]}} | keys))
    return path


def test_the_papers_grid_is_sixty_cells() -> None:
    sweep = load_sweep(CONFIGS / "paper_grid.yaml")
    assert len(sweep.cells) == 60 and len({cell.label for cell in sweep.cells}) == 60
    assert list(sweep.axes) == ["pairs", "objective", "seed"]
    assert sweep.axes["pairs"] == ["clair", "on_policy_judge", "off_policy_judge", "stronger_preferred"]
    assert sweep.axes["objective"] == ["sft", "dpo", "kto", "apo_zero", "apo_down"]
    for cell in sweep.cells:
        assert cell.config.align.objective.name == cell.point["objective"]
        assert cell.config.method.name == cell.point["pairs"]  # type: ignore[union-attr]
        assert str(cell.config.seed) == cell.point["seed"] and cell.config.align.checkpoints == "epochs"


def test_a_sweep_is_no_run() -> None:
    with pytest.raises(PlumblineError, match=r"describes a sweep, not a run: use plumbline sweep .*paper_grid\.yaml"):
        load_config(CONFIGS / "paper_grid.yaml")


def test_an_axis_is_a_key_with_values_or_names_that_set_keys(tmp_path: Path) -> None:
    axis = {"calm": {"sample.temperature": 0.5, "align.epochs": 1}, "wild": {"sample.temperature": 1.5}}
    sweep = load_sweep(write(tmp_path, grid={"align.learning_rate": [1e-4, 5e-4], "sampling": axis}, set={"rounds": 1}))
    assert [cell.label for cell in sweep.cells] == ["0-0001-calm", "0-0001-wild", "0-0005-calm", "0-0005-wild"]
    first = sweep.cells[0]
    assert first.point == {"align.learning_rate": "0.0001", "sampling": "calm"}
    config = first.config
    assert (config.align.learning_rate, config.align.epochs, config.rounds) == (1e-4, 1, 1)  # type: ignore[union-attr]
    assert [c.config.sample.temperature for c in sweep.cells[:2]] == [0.5, 1.5]  # type: ignore[union-attr]


def test_paths_are_relative_to_the_sweeps_file(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"prompt": "hello"}\n' * 3000)
    sweep = load_sweep(write(tmp_path, set={"prompts.file": "mine.jsonl"}))
    assert sweep.cells[0].config.prompts.file == str(tmp_path / "mine.jsonl")  # type: ignore[union-attr]
    theirs = {"name": "off_policy_judge", "sources": ["teacher", {"kind": "file", "file": "mine.jsonl"}]}
    sweep = load_sweep(write(tmp_path, grid={"method": {"theirs": {"method": theirs}}}))
    assert sweep.cells[0].config.method.sources[1].file == str(tmp_path / "mine.jsonl")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"grid": {}}, "grid"),
        ({"grid": {"seed": []}}, "needs values"),
        ({"grid": {"seed": 1}}, r"grid\.seed is 1: should be a valid list"),
        ({"grid": {"seed": [1, 1]}}, "needs values that differ"),
        ({"grid": {"seed": ["a/b", "a b"]}}, "the cell a-b is impossible"),
        ({"grid": {"align.epochs": [1, 0]}}, "the cell 0 is impossible.*align.epochs is 0"),
        ({"grid": {"no.such": [1]}}, "unknown key no"),
        ({"grid": {"engine.max_model_len": [256, 512]}}, "share one engine .* so engine cannot vary"),
        ({"grid": {"mood": {"☀": {"seed": 1}, "b": {"seed": 2}}}}, "neither a letter nor a digit"),
        ({"more": 1}, "more"),
        ({"base": "nowhere.yaml"}, "nowhere.yaml does not exist"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path: Path, keys: dict[str, object], sentence: str) -> None:
    with pytest.raises(PlumblineError, match=sentence) as error:
        load_sweep(write(tmp_path, **keys))
    assert "\n" not in str(error.value)


def test_any_text_reaches_the_cells_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "p 😀.jsonl").write_text('{"prompt": "hello"}\n' * 3000)
    (cell,) = load_sweep(write(tmp_path, set={"prompts.file": "p 😀.jsonl"}, grid={"seed": [0]})).cells
    assert cell.config.prompts.file == str(tmp_path / "p 😀.jsonl")  # type: ignore[union-attr]


def test_cells_that_would_share_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlumblineError, match="two cells are called 'a-b'"):
        load_sweep(write(tmp_path, grid={"x": {"a b": {"seed": 0}, "a/b": {"seed": 1}}}))
