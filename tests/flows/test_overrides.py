"""What one firing changes holds for its own rounds, is written down, and never mixes with what has begun."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError

from data_contracts.config_schedule import Overrides
from data_contracts.errors import PlumblineError
from data_contracts.load_config import dump_config, load_config
from flows.overrides import settle
from flows.session import Session

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def session(tmp_path: Path) -> Session:
    config = load_config(ROOT / "configs" / "demo.yaml")
    (tmp_path / "config.yaml").write_text(dump_config(config))
    nothing = cast(Any, None)
    return Session(tmp_path, config, nothing, nothing)


def test_every_override_changes_the_key_that_its_form_names() -> None:
    every = Overrides(learning_rate=1e-5, epochs=3, temperature=0.5, min_win_rate=0.6)
    sets = [f"{key}={value!r}" for key, value in every.sets().items()]
    plain, changed = (load_config(ROOT / "configs" / "demo.yaml", s).model_dump() for s in ([], sets))
    assert changed["align"]["learning_rate"] == 1e-5
    assert changed["align"]["epochs"] == 3
    assert changed["sample"]["temperature"] == 0.5
    assert changed["promote"]["min_win_rate"] == 0.6
    for name, field in Overrides.model_fields.items():
        assert f".{name}" in (field.description or "")
    assert Overrides().sets() == {}
    assert plain != changed


def test_what_makes_no_sense_is_refused_by_the_form() -> None:
    for wrong in ({"epochs": 0}, {"temperature": -1}, {"min_win_rate": 2}, {"rounds": 1}):
        with pytest.raises(ValidationError):
            Overrides(**wrong)


def test_a_round_keeps_its_overrides_when_it_is_resumed_without_them(session: Session) -> None:
    as_configured = session.rounds
    firing = replace(session, overrides={"align.epochs": 7})
    for settled, number, epochs in ((firing, 2, 7), (session, 2, 7), (session, 3, as_configured.align.epochs)):
        settle(settled, number)
        assert settled.rounds.align.epochs == epochs
    assert session.rounds == as_configured


@pytest.mark.parametrize("stage", ["prompts", "import"])
def test_a_round_that_has_begun_takes_no_other_overrides(session: Session, stage: str) -> None:
    begun = session.folder / "round-2" / stage
    begun.mkdir(parents=True)
    (begun / "manifest.json").write_text("{}")
    with pytest.raises(PlumblineError, match="has begun without the overrides"):
        settle(replace(session, overrides={"align.epochs": 7}), 2)
    settle(session, 2)
    assert session.rounds == load_config(session.folder / "config.yaml")


def test_an_override_that_is_impossible_with_the_rest_is_one_sentence(session: Session) -> None:
    with pytest.raises(PlumblineError, match="temperature"):
        settle(replace(session, overrides={"sample.temperature": -1.0}), 1)
