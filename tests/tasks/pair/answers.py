"""Answers, verdicts and revisions by hand, for the tests of the pair methods."""

from typing import Any

from pydantic import TypeAdapter

from data_contracts.config_pairs import MethodConfig
from tasks.pair import METHODS
from tasks.pair.rows import Given, Made

PROMPT = [{"role": "user", "content": "Why?"}]
Row = dict[str, Any]


def sample(prompt_id: str, index: int, policy: str = "policyhash", text: str | None = None) -> Row:
    return {
        "sample_id": f"{prompt_id}/{index}",
        "prompt_id": prompt_id,
        "prompt": PROMPT,
        "prompt_ids": [1],
        "index": index,
        "text": f"answer {index}" if text is None else text,
        "token_ids": [index],
        "finish_reason": "stop",
        "stopped": index == 0,
        "seed": 0,
        "policy": policy,
    }


def verdict(prompt_id: str, i: int, j: int, outcome: str, scores: tuple[Any, Any] = (None, None), **known: float) -> Row:
    return {
        "prompt_id": prompt_id,
        "first_id": f"{prompt_id}/{i}",
        "second_id": f"{prompt_id}/{j}",
        "forward": outcome,
        "backward": outcome,
        "outcome": outcome,
        "first_score": scores[0],
        "second_score": scores[1],
        "judge": "j",
        **known,
    }


def revision(i: int, text: str, revised: str | None, failure: str | None = None) -> Row:
    return {
        "sample_id": f"p{i}/0",
        "prompt_id": f"p{i}",
        "prompt": PROMPT,
        "prompt_ids": [1, 2],
        "text": text,
        "token_ids": [3, i],
        "stopped": i != 0,
        "policy": "policyhash",
        "raw": "…",
        "reasoning": f"why {i}",
        "revision": revised,
        "revision_ids": None if revised is None else [4, i, 9],
        "failure": failure,
        "teacher": "teacher",
    }


def made(
    method: str | Row,
    *rows: list[Row],
    policy: str = "policyhash",
    initial: str = "start",
    seed: int = 0,
    alone: tuple[str, ...] = (),
) -> Made:
    """What the method makes of the rows of the datasets it reads, in round 3."""
    config = TypeAdapter(MethodConfig).validate_python(method)
    return METHODS[config.name].make(Given(config, rows, policy, initial, 3, seed, alone))


def sides(pairs: list[Row]) -> list[tuple[str | None, str | None]]:
    return [(pair["chosen"], pair["rejected"]) for pair in pairs]
