"""A pairs or lists dataset as an objective wants it: token ids, and of what else is known about an example just what it needs.

Nothing is re-tokenised but text that has no ids of its own yet: degraded answers and rationales. torch is not imported.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.errors import PlumblineError
from data_contracts.store import Rows, load_json, read_parquet
from models.chat import encode_answer, encode_prompt, user
from models.objectives.batch import Need
from models.objectives.degradations import degrade
from models.objectives.steps import step_similarity
from models.training.data import Example, Ids, mismatched, refuse_empty, two_prompts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

DEGREES = (0.25, 0.5, 0.75)  # shares of an answer's content words that its degradations lack
ABSENT: Ids = []  # an answer that is not there, in lists of unequal length


@dataclass(frozen=True)
class Inputs:
    """Every list has one entry an example."""

    examples: list[Example]
    numbers: dict[str, list[Any]] = field(default_factory=dict)  # by field of `Batch`: a number, [K] or [K][K], NaN for unknown
    by_token: dict[str, list[list[list[float]]]] = field(default_factory=dict)  # by field of `Batch`: [K][T]
    aux: dict[str, list[Example]] = field(default_factory=dict)  # by key of `Batch.aux`
    gaps: list[float] = field(default_factory=list)  # the judge's score of the chosen answer minus the rejected one's, or NaN


def read_inputs(folder: Path, needs: Need, tokenizer: "PreTrainedTokenizerFast | None" = None) -> Inputs:
    """The dataset in `folder`. `tokenizer` encodes what has no ids yet; who only wants to check the data may leave it out.

    A side that a pair lacks is an answer that is not there.
    Raises PlumblineError for an empty dataset, an empty prompt or answer, and answers that leave too few to compare.
    """
    rows: Rows = read_parquet(folder / "data.parquet").to_pylist()
    if not rows:
        raise PlumblineError(f"{folder} holds no pairs, so there is nothing to train on or to rank")
    read = _lists if load_json(folder / "manifest.json")["kind"] == "lists" else _pairs
    return read(folder, rows, needs, tokenizer)


def _pairs(folder: Path, rows: Rows, needs: Need, tokenizer: "PreTrainedTokenizerFast | None") -> Inputs:
    for row in rows:
        sides = [side for side in ("chosen_ids", "rejected_ids") if row[side] is not None] or ["chosen_ids"]
        refuse_empty(folder, [row], "pair", ("prompt_ids", *sides))
    examples = [Example(r["pair_id"], r["prompt_ids"], (r["chosen_ids"] or ABSENT, r["rejected_ids"] or ABSENT)) for r in rows]
    if Need.TWO_PROMPTS in needs:
        examples = [_across(e, r["rejected_prompt_ids"]) for e, r in zip(examples, rows, strict=True)]
    aux = _further(examples, rows, needs, tokenizer)
    if tokenizer is not None and Need.DEGRADATIONS in needs:
        examples = [_degraded(e, r["chosen"], i, tokenizer) for i, (e, r) in enumerate(zip(examples, rows, strict=True))]
    return Inputs(examples, _numbers(rows, needs), {}, aux, [_or_nan(r.get("margin")) for r in rows])


def _numbers(rows: Rows, needs: Need) -> dict[str, list[Any]]:
    """What the judge or the data says of each pair, by field of `Batch`."""
    found: dict[str, list[Any]] = {}
    won = [_or_nan(r.get("win_probability")) for r in rows]
    if Need.SCORES in needs:
        found["score"] = [[_or_nan(r["chosen_score"]), _or_nan(r["rejected_score"])] for r in rows]
    if Need.WIN_PROBABILITIES in needs:
        found["win_prob"] = [[[0.5, p], [1 - p, 0.5]] for p in won]
    if Need.CONFIDENCE in needs:
        found["confidence"] = won
    if Need.UNCERTAINTY in needs:
        found["uncertainty"] = [_or_nan(r["uncertainty"]) for r in rows]
    if Need.WEIGHT in needs:
        found["weight"] = [_or_nan(r["weight"]) for r in rows]
    return found


def _further(
    examples: Sequence[Example], rows: Rows, needs: Need, tokenizer: "PreTrainedTokenizerFast | None"
) -> dict[str, list[Example]]:
    """Answers beside the pair itself, by key of `Batch.aux`."""
    found: dict[str, list[Example]] = {}
    both = list(zip(examples, rows, strict=True))
    if Need.GOLD in needs:
        found["gold"] = [Example(e.id, e.prompt, (r["gold_ids"],)) for e, r in both]
    if Need.BASE in needs:
        found["base"] = [Example(e.id, e.prompt, (r["base_ids"],)) for e, r in both]
    if Need.REPROMPT in needs:
        found["reprompt"] = [Example(e.id, r["reprompt_ids"], e.answers) for e, r in both]
    if Need.MISMATCH in needs:
        found["mismatch"] = mismatched(examples)
    if tokenizer is not None and Need.RATIONALE in needs:
        found["rationale"] = [_rationale(e.id, r, tokenizer) for e, r in both]
    return found


def _lists(folder: Path, rows: Rows, needs: Need, tokenizer: "PreTrainedTokenizerFast | None") -> Inputs:
    refuse_empty(folder, rows, "list", ("prompt_ids",))
    few = [r["list_id"] for r in rows if sum(map(bool, r["answer_ids"])) < 2 or not all(r["answer_ids"])]
    if few:
        raise PlumblineError(f"list {few[0]!r} in {folder} has an empty answer or fewer than two: validate the lists first")
    size = max(len(r["answer_ids"]) for r in rows)
    examples = [Example(r["list_id"], r["prompt_ids"], tuple(_padded(r["answer_ids"], size, ABSENT))) for r in rows]
    numbers: dict[str, list[Any]] = {}
    if Need.SCORES in needs or any(r["scores"] is not None for r in rows):  # without scores a list's order is its ranking
        numbers["score"] = [_padded(map(_or_nan, r["scores"] or []), size, nan) for r in rows]
    if Need.WIN_PROBABILITIES in needs:
        numbers["win_prob"] = [_square(r["wins"], size) for r in rows]
    by_token: dict[str, list[list[list[float]]]] = {}
    if tokenizer is not None and Need.STEPS in needs:
        steps = [_steps(e, tokenizer) for e in examples]
        by_token = {"step_id": [ids for ids, _ in steps], "step_weight": [weights for _, weights in steps]}
    return Inputs(examples, numbers, by_token)


def _or_nan(value: float | None) -> float:
    return nan if value is None else float(value)


def _padded(values: Any, size: int, filling: Any) -> list[Any]:
    given = list(values)
    return given + [filling] * (size - len(given))


def _square(wins: list[list[float | None]] | None, size: int) -> list[list[float]]:
    return _padded([_padded(map(_or_nan, row), size, nan) for row in wins or []], size, [nan] * size)


def _across(example: Example, rejected_prompt: Ids) -> Example:
    chosen, rejected = example.answers
    return two_prompts(example.id, (example.prompt, rejected_prompt), (chosen, rejected))


def _rationale(name: str, row: dict[str, Any], tokenizer: "PreTrainedTokenizerFast") -> Example:
    from models.prompts import render, render_task

    text = render("rationale-1", task=render_task(row["prompt"]), answer_a=row["chosen"], answer_b=row["rejected"])
    prompt = encode_prompt(tokenizer, user(text))
    return Example(name, prompt, (encode_answer(tokenizer, row["reasoning"]),))


def _degraded(example: Example, chosen: str, seed: int, tokenizer: "PreTrainedTokenizerFast") -> Example:
    """With the chosen answer's degradations behind the pair; one that leaves nothing, or no less than before it, is absent."""
    worse, before = [], chosen.strip()
    for text in degrade(chosen, DEGREES, seed):
        worse.append(encode_answer(tokenizer, text) if text and text != before else ABSENT)
        before = text or before
    return Example(example.id, example.prompt, (*example.answers, *worse))


def _steps(example: Example, tokenizer: "PreTrainedTokenizerFast") -> tuple[list[list[float]], list[list[float]]]:
    """Of each answer, the step of each token and that step's weight; a step ends with the line break that a token holds."""
    ids = [step_ids([tokenizer.decode([t], skip_special_tokens=True) for t in answer]) for answer in example.answers]
    texts = [_texts(answer, places, tokenizer) for answer, places in zip(example.answers, ids, strict=True)]
    weights = []
    for own, places in zip(texts, ids, strict=True):
        of_step = step_similarity(own, texts[0]) if own else []
        weights.append([of_step[place] for place in places])
    return [[float(place) for place in places] for places in ids], weights


def step_ids(pieces: Sequence[str]) -> list[int]:
    """The step of each token, from 0: a new step begins behind a token with a line break, unless only white space follows.

    Blank lines belong to the step before them, and so does what closes an answer.
    """
    steps: list[int] = []
    step, ended = 0, False
    for piece in pieces:
        if ended and piece.strip() and steps:
            step, ended = step + 1, False
        steps.append(step)
        ended = ended or "\n" in piece
    return steps


def _texts(answer: Ids, places: Sequence[int], tokenizer: "PreTrainedTokenizerFast") -> list[str]:
    count = max(places, default=-1) + 1
    return [tokenizer.decode([t for t, p in zip(answer, places, strict=True) if p == k]) for k in range(count)]
