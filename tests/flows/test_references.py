"""Which model a round is aligned against, from its configuration and from who is champion: in the second round they differ."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data_contracts.config_align import AlignConfig
from data_contracts.store import Dataset, open_dataset
from flows.references import References, references
from models.checkpoint import open_checkpoint
from tasks.lineage import standing
from tests.tasks.run_folder import make_run
from tests.tiny import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A start and two rounds, promoted both, each with a model of its own."""
    home = tmp_path_factory.mktemp("run")
    folder = make_run(home / "run")
    for seed, place in enumerate((home / "start", *(folder / f"round-{k}" / "align" / "model" for k in (1, 2)))):
        tiny(place, seed=seed)
    return folder


def of_round(run: Path, number: int, monkeypatch: pytest.MonkeyPatch, **align: Any) -> References:
    def step(_label: str, stage: Any, folder: Path, *arguments: Any) -> Dataset:
        made: Dataset = stage(folder, *arguments)
        return made

    monkeypatch.setattr("flows.references.step", step)
    config = AlignConfig.model_validate({"objective": {"name": "dpo"}} | align)
    start = open_checkpoint(run.parent / "start")
    session: Any = SimpleNamespace(rounds=SimpleNamespace(align=config), policy=start, folder=run, others={"x": "another"})
    return references(session, run / f"round-{number}", f"round {number}", standing(run, start, number), number)


def test_the_reference_is_the_one_that_the_configuration_names(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, first, second = (
        open_checkpoint(path) for path in (run.parent / "start", *(run / f"round-{k}" / "align" / "model" for k in (1, 2)))
    )
    assert len({start.hash, first.hash, second.hash}) == 3
    for name, expected in (
        ("initial", [start, start, start]),
        ("previous", [start, first, second]),
        ("ema", [start, first, second]),  # where it starts; it moves in training
    ):
        found = [of_round(run, number, monkeypatch, reference=name).main for number in (1, 2, 3)]
        assert [model.hash for model in found] == [model.hash for model in expected], name


def test_an_extrapolated_reference_lies_beyond_the_champion_away_from_the_one_before(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert of_round(run, 1, monkeypatch, reference="extrapolated").main.hash == open_checkpoint(run.parent / "start").hash
    for number, before in ((2, run.parent / "start"), (3, run / "round-1" / "align" / "model")):
        found = of_round(run, number, monkeypatch, reference="extrapolated", extrapolation=0.4).main
        made = open_dataset(run / f"round-{number}" / "reference")
        champion = run / f"round-{number - 1}" / "align" / "model"
        assert made.manifest["models"] == {"champion": open_checkpoint(champion).hash, "before": open_checkpoint(before).hash}
        assert made.facts["model_hash"] == found.hash
        assert found.hash not in (open_checkpoint(champion).hash, open_checkpoint(before).hash)


def test_a_second_reference_and_the_model_before_momentum_are_found(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, first = open_checkpoint(run.parent / "start"), open_checkpoint(run / "round-1" / "align" / "model")
    named = [of_round(run, 2, monkeypatch, second_reference=name).second for name in ("initial", "previous", "x")]
    assert [named[0].hash, named[1].hash, named[2]] == [start.hash, first.hash, "another"]  # type: ignore[union-attr]
    assert of_round(run, 2, monkeypatch).second is None is of_round(run, 2, monkeypatch).before
    assert of_round(run, 2, monkeypatch, momentum=0.3).before == first
