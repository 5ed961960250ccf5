"""What an objective needs beside the pairs is asked for whatever made them."""

from types import SimpleNamespace
from typing import Any

from flows.serve import serve
from models.objectives.batch import Need
from tasks.lineage import Standing
from tasks.serving import Plan


def test_further_answers_are_to_the_prompts_of_the_pairs_themselves() -> None:
    """Whether this round made the pairs, a file holds them, or an earlier round's are replayed."""
    asked: dict[str, Any] = {}

    def run(place: str, _stage: Any, given: Any, *_: Any, **__: Any) -> Any:
        asked[place] = given
        return place

    session: Any = SimpleNamespace(rounds=SimpleNamespace(sample=None), retries=0, writer=lambda *_: None)
    champion: Any = Standing(0, SimpleNamespace(hash="policy"), None)  # type: ignore[arg-type]
    pairs: Any = "pairs"
    plan = Plan(Need.GOLD, ("further", "complete"))
    assert serve(session, plan, run, lambda data, *_, **__: data, pairs, champion, 1, 0) == "complete"
    assert asked == {"further": "pairs", "complete": "pairs"}
