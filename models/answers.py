"""Greedy answers of a model to many prompts: each distinct prompt once, and nothing that is already known.

Answers are kept beside the runs, under a key of everything that decides them, so that whoever measures the same weights on the
same questions again (another run from the same start, another parser) waits for nothing.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.store import digest, replacing
from models.chat import encode_prompt, encode_text, user
from models.checkpoint import Checkpoint
from models.engine import Completion, Progress, Sampling, quiet

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from models.engine import Engine


@dataclass(frozen=True)
class Answered:
    """One entry a prompt, in order. `reused` counts the distinct prompts whose answers were known."""

    prompt_ids: list[list[int]]
    completions: list[Completion]
    reused: int


def answer(
    engine: "Engine",
    policy: Checkpoint,
    prompts: Sequence[str],
    max_tokens: int,
    chat: bool = True,
    kept: Path | None = None,
    progress: Progress = quiet,
) -> Answered:
    """`policy`'s greedy answers: to each prompt as a user's message, or as its continuation where `chat` is false.

    `kept` is the folder of known answers; one that belongs to somebody else is left alone.
    """
    distinct = list(dict.fromkeys(prompts))
    sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=max_tokens)
    path = _path(kept, engine, policy, distinct, sampling, chat) if kept is not None and _is_ours(kept) else None
    known = _read(path) if path is not None and path.exists() else None
    if known is None:
        engine.use(policy)
        ids = encode(engine.tokenizer, distinct, chat)
        made = engine.generate(ids, sampling, [0] * len(ids), progress)
        if path is not None:
            _write(path, ids, made)
    else:
        ids, made = known
    at = {text: i for i, text in enumerate(distinct)}
    return Answered([ids[at[p]] for p in prompts], [made[at[p]] for p in prompts], 0 if known is None else len(distinct))


def encode(tokenizer: "PreTrainedTokenizerFast", prompts: Sequence[str], chat: bool) -> list[list[int]]:
    """Token ids of each prompt as a user's message, or as a text to continue."""
    return [encode_prompt(tokenizer, user(p)) if chat else encode_text(tokenizer, p) for p in prompts]


def _path(kept: Path, engine: "Engine", policy: Checkpoint, prompts: Sequence[str], sampling: Sampling, chat: bool) -> Path:
    how = [asdict(sampling), chat, engine.dtype, engine.on_gpu, engine.version, engine.max_model_len]
    return kept / f"{digest([policy.hash, how, prompts])}.parquet"


def _is_ours(folder: Path) -> bool:
    """Under a shared folder such as /tmp anybody could have put answers there."""
    return not folder.exists() or folder.stat().st_uid == os.getuid()


def _read(path: Path) -> tuple[list[list[int]], list[Completion]]:
    import pyarrow.parquet as pq

    rows = pq.read_table(path).to_pylist()
    return [r["prompt_ids"] for r in rows], [Completion(r["text"], r["token_ids"], r["finish_reason"]) for r in rows]


def _write(path: Path, ids: list[list[int]], made: list[Completion]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with replacing(path, shared=True) as partial:
        pq.write_table(pa.Table.from_pylist([{"prompt_ids": p, **asdict(c)} for p, c in zip(ids, made, strict=True)]), partial)
