"""What an objective needs beside the pairs is asked for whatever made them."""

from types import SimpleNamespace
from typing import Any

import pytest

from flows.serve import serve
from models.objectives.batch import Need
from tasks.lineage import Standing
from tasks.serving import Plan


@pytest.mark.parametrize("made", [{"validate_prompts": "prompts"}, {}])
def test_further_answers_are_to_the_rounds_prompts_or_to_those_of_recorded_pairs(made: Any) -> None:
    asked: dict[str, Any] = {}

    def run(place: str, _stage: Any, given: Any, *_: Any, **__: Any) -> Any:
        asked[place] = given
        return place

    teacher: Any = SimpleNamespace(kind="local")
    session: Any = SimpleNamespace(rounds=SimpleNamespace(teacher=teacher, sample=None), writer=lambda *_: None)
    champion: Any = Standing(0, SimpleNamespace(hash="policy"), None)  # type: ignore[arg-type]
    pairs: Any = "pairs"
    plan = Plan(Need.GOLD, ("further", "complete"))
    assert serve(session, plan, run, lambda data, *_, **__: data, made, pairs, champion, 1, 0) == "complete"
    assert asked == {"further": made.get("validate_prompts", "pairs"), "complete": "pairs"}
