"""Examples as token ids, and how they are dealt into batches. Nothing is re-tokenised, nothing is cut, torch is not imported."""

import hashlib
import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, takewhile
from operator import eq
from pathlib import Path

from data_contracts.errors import PlumblineError
from data_contracts.store import Rows, read_parquet

Ids = list[int]


@dataclass(frozen=True)
class Example:
    """One prompt and its K answers, the best first, as the sampler's own token ids. In lists of unequal length and in one-sided
    pairs an empty answer is one that is not there."""

    id: str
    prompt: Ids
    answers: tuple[Ids, ...]
    skip: tuple[int, ...] = ()  # tokens each answer begins with that are still prompt; () is none

    @property
    def longest(self) -> int:
        return len(self.prompt) + max(len(a) for a in self.answers)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each answer, those it skips not counted; 0 for one that is not there."""
        return [len(a) - s for a, s in zip(self.answers, self.skip or (0,) * len(self.answers), strict=True)]

    @property
    def tokens(self) -> int:
        return sum(len(self.prompt) + len(a) for a in self.answers if a)

    @property
    def compares(self) -> bool:
        """Whether there are two answers or more."""
        return sum(map(bool, self.answers)) > 1

    @cached_property
    def tree_tokens(self) -> int:
        """Tokens of the example's prefix tree: of two neighbours in sorted order the second adds what the first lacks."""
        ordered = sorted(self.answers)
        shared = sum(shared_beginning(a, b) for a, b in pairwise(ordered))
        return len(self.prompt) + sum(map(len, ordered)) - shared


def two_prompts(name: str, prompts: tuple[Ids, Ids], answers: tuple[Ids, Ids]) -> Example:
    """Two answers, each to a prompt of its own: what the prompts begin with alike is the tree's, the rest goes with the answers.

    Raises PlumblineError if the prompts share no beginning: one chat template writes both.
    """
    shared = shared_beginning(*prompts)
    if not shared:
        raise PlumblineError(f"the prompts of pair {name!r} begin with different tokens, so they are not of one chat template")
    rests = [prompt[shared:] for prompt in prompts]
    one, other = (rest + answer for rest, answer in zip(rests, answers, strict=True))
    return Example(name, prompts[0][:shared], (one, other), (len(rests[0]), len(rests[1])))


def shared_beginning(a: Ids, b: Ids) -> int:
    """Number of tokens that `a` and `b` begin with alike."""
    return sum(takewhile(bool, map(eq, a, b)))


def read_pairs(folder: Path) -> list[Example]:
    """The pairs dataset in `folder`, without its one-sided rows, which compare nothing.

    Raises PlumblineError for an empty prompt or answer: there would be nothing to predict from, or nothing to train on.
    """
    columns = ["pair_id", "prompt_ids", "chosen_ids", "rejected_ids"]
    found = read_parquet(folder / "data.parquet", columns=columns).to_pylist()
    rows = [row for row in found if row["chosen_ids"] is not None and row["rejected_ids"] is not None]
    if not rows:
        alone = f" but {len(found)} one-sided rows" if found else ""
        raise PlumblineError(f"{folder} holds no pairs{alone}, so there is nothing to train on or to rank")
    refuse_empty(folder, rows, "pair", columns[1:])
    return [Example(r["pair_id"], r["prompt_ids"], (r["chosen_ids"], r["rejected_ids"])) for r in rows]


def refuse_empty(folder: Path, rows: Rows, what: str, columns: Sequence[str]) -> None:
    """Raises PlumblineError for a row, a pair or a list, that has no tokens in one of the `columns`."""
    for row in rows:
        for column in columns:
            if not row[column]:
                name, id_ = column.removesuffix("_ids"), row[f"{what}_id"]
                raise PlumblineError(f"{what} {id_!r} in {folder} has no {name} tokens: validate the {what}s first")


def check_fit(examples: Sequence[Example], vocabulary: int, positions: int | None) -> None:
    """Raises PlumblineError for ids outside the model's vocabulary or sequences longer than its `positions`."""
    for example in examples:
        if positions and example.longest > positions:
            raise PlumblineError(
                f"pair {example.id!r} has {example.longest} tokens and the model takes {positions}: lower validate.max_tokens"
            )
        top = max(max(ids, default=0) for ids in (example.prompt, *example.answers))
        if top >= vocabulary:
            raise PlumblineError(
                f"pair {example.id!r} holds token id {top} and the model has {vocabulary}: the pairs belong to another tokenizer"
            )


def mismatched(examples: Sequence[Example]) -> list[Example]:
    """Each prompt with as many answers to other prompts as it has itself (for KTO's divergence estimate): for each answer that of
    the next example which has one on that side, round the end; of the other side where no other prompt has one on this.

    Over the whole data set and not within a batch, so that any batch size will do and the reference is asked once; side by side,
    so that the two halves of a pair get what the whole pair would.
    Raises PlumblineError if all prompts are the same.
    """
    others = []
    for k in range(len(examples[0].answers)):
        own = [i for i, example in enumerate(examples) if example.answers[k]]
        several = len({tuple(examples[i].prompt) for i in own}) > 1
        others.append(_next_prompts(examples, own if several else range(len(examples))))
    result = []
    for i, example in enumerate(examples):
        found = [examples[others[k][i]] if answer else None for k, answer in enumerate(example.answers)]
        answers = tuple((e.answers[k] or next(filter(None, e.answers))) if e else [] for k, e in enumerate(found))
        names = " and ".join(dict.fromkeys(e.id for e in found if e))
        result.append(Example(f"{example.id} with {names}", example.prompt, answers))
    return result


def _next_prompts(examples: Sequence[Example], pool: Sequence[int]) -> dict[int, int]:
    """Of each index in `pool` the next one in it whose prompt is another, round the end."""
    result, other = {}, 0
    for place, i in enumerate(pool):
        ahead = _round(max(place + 1, other), len(pool))
        other = next((j for j in ahead if examples[pool[j]].prompt != examples[i].prompt), -1)
        if other < 0:
            raise PlumblineError("objective kto needs at least two different prompts: add data or choose apo_zero_unpaired")
        result[i] = pool[other]
    return result


def _round(start: int, count: int) -> Iterator[int]:
    return (j % count for j in range(start, start + count))


def plan(count: int, batch_size: int, epochs: int, seed: int) -> list[list[int]]:
    """Batches of example indices: each epoch holds every example once, in an order that depends on `seed` and epoch.

    A last batch of a single example joins the one before it.
    """
    batches = []
    for epoch in range(epochs):
        order = list(range(count))
        random.Random(f"{seed}/{epoch}").shuffle(order)
        dealt = [order[i : i + batch_size] for i in range(0, count, batch_size)]
        if len(dealt) > 1 and len(dealt[-1]) == 1 < batch_size:
            dealt[-2:] = [dealt[-2] + dealt[-1]]
        batches += dealt
    return batches


def hold_out(examples: Sequence[Example], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices to train on and indices to rank: about `share` of the prompts with two answers, drawn by `seed`, is held out.

    A held-out prompt's one-sided rows are neither trained on nor ranked.
    Raises PlumblineError if either would be empty.
    """
    prompts = sorted({tuple(e.prompt) for e in examples if e.compares})
    held = set(random.Random(f"{seed}/held out").sample(prompts, round(share * len(prompts))))
    kept = [i for i, e in enumerate(examples) if tuple(e.prompt) not in held]
    away = [i for i, e in enumerate(examples) if tuple(e.prompt) in held and e.compares]
    if not kept or not away:
        raise PlumblineError(
            f"align.early_stop.held_out {share} of {len(prompts)} prompts with two answers leaves nothing to train on or to hold "
            "out: change it"
        )
    return kept, away


def micro_batches(examples: Sequence[Example], indices: Sequence[int], tokens: int) -> list[list[int]]:
    """`indices` sorted by size and split so that the prefix trees of each part have at most `tokens` tokens (or it is one tree).

    The largest come first: if memory does not suffice, that shows at once.
    """
    parts: list[list[int]] = []
    room = 0
    for i in sorted(indices, key=lambda i: (-examples[i].tree_tokens, i)):
        size = examples[i].tree_tokens
        if not parts or size > room:
            parts.append([])
            room = tokens
        parts[-1].append(i)
        room -= size
    return parts


def content_digest(examples: Sequence[Example]) -> str:
    """Hash of every id and token, in order."""
    sha = hashlib.sha256()
    for example in examples:
        sha.update(repr((example.id, len(example.prompt), [len(a) for a in example.answers], *example.skip)).encode())
        for ids in (example.prompt, *example.answers):
            sha.update(array("q", ids).tobytes())
    return sha.hexdigest()[:16]
