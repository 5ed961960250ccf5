"""Checkable numbers from texts, token ids and conversations: one value per row, never null.

Never null, because Great Expectations skips null values: a contract on a null passes.
"""

import re
from collections.abc import Collection, Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from data_contracts.suites.contract import Codec, Limits

Counts = np.ndarray[tuple[int], np.dtype[np.int64]]


def token_counts(ids: "pd.Series[Any]") -> Counts:
    return np.fromiter((0 if row is None else len(row) for row in ids), dtype=np.int64, count=len(ids))


def id_counts(ids: "pd.Series[Any]", wanted: Collection[int]) -> Counts:
    """How many of a row's token ids are among `wanted`."""
    lengths = token_counts(ids)
    flat = np.concatenate([np.empty(0, dtype=np.int64), *(row for row in ids if row is not None)])
    row_of: Counts = np.repeat(np.arange(len(ids)), lengths)
    return np.bincount(row_of[np.isin(flat, list(wanted))], minlength=len(ids)).astype(np.int64)


def misplaced_eos(ids: "pd.Series[Any]", stopped: "pd.Series[bool]", ends: Collection[int]) -> Counts:
    """0 where a row holds exactly one end-of-sequence token at its end if it stopped, and none if it was cut; else 1."""
    at_end = np.fromiter((row is not None and len(row) > 0 and row[-1] in ends for row in ids), dtype=bool, count=len(ids))
    expected = stopped.to_numpy(dtype=bool)
    return ((id_counts(ids, ends) != expected) | (at_end != expected)).astype(np.int64)


def control_token_counts(
    texts: "pd.Series[str]", ids: "pd.Series[Any]", tokens: Sequence[str], token_ids: Collection[int], ends: Collection[int]
) -> Counts:
    """Control tokens in an answer, spelt in its text or hidden in its ids (decoding skips those); its end token apart."""
    return spelt_counts(texts, tokens) + id_counts(ids, set(token_ids) - set(ends))


def spelt_counts(texts: "pd.Series[str]", tokens: Sequence[str]) -> Counts:
    if not tokens:
        return np.zeros(len(texts), dtype=np.int64)
    pattern = re.compile("|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True)))
    return np.fromiter((len(pattern.findall(text)) for text in texts.fillna("")), dtype=np.int64, count=len(texts))


# U+FFFD stands for bytes that could not be decoded; controls but tab, newline and return; lone surrogates; non-characters
_GARBLED = re.compile("[\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def garbled_counts(texts: "pd.Series[str]") -> Counts:
    """Characters that only wrong decoding, or a cut within a character, puts into a text."""
    return np.fromiter((len(_GARBLED.findall(text)) for text in texts.fillna("")), dtype=np.int64, count=len(texts))


def decodes_differently(texts: "pd.Series[str]", ids: "pd.Series[Any]", codec: Codec | None) -> Counts:
    """1 where the token ids of an answer do not spell its text. White space apart: some tokenizers take a leading space."""
    if codec is None:
        return np.zeros(len(texts), dtype=np.int64)
    decoded = codec.decode_answers([[] if row is None else list(row) for row in ids])
    same = (d.split() == t.split() for d, t in zip(decoded, texts.fillna(""), strict=True))
    return np.fromiter((not s for s in same), dtype=np.int64, count=len(texts))


def text_sizes(texts: "pd.Series[str]", ids: "pd.Series[Any]") -> Counts:
    """Characters of the text without outer white space, or tokens where those are fewer."""
    characters = np.fromiter((len(text.strip()) for text in texts.fillna("")), dtype=np.int64, count=len(texts))
    return np.minimum(characters, token_counts(ids))


def copies(keys: Sequence[Hashable]) -> Counts:
    """How many rows carry the same key, this one included."""
    series = pd.Series(list(keys), dtype=object)
    return series.groupby(series).transform("size").to_numpy(dtype=np.int64) if len(series) else np.empty(0, dtype=np.int64)


def conversations(prompts: "pd.Series[Any]") -> list[tuple[tuple[str, str], ...]]:
    """Each prompt as a hashable ((role, content), …)."""
    return [tuple((m["role"] or "", m["content"] or "") for m in prompt) if prompt is not None else () for prompt in prompts]


def turns_out_of_order(prompt: tuple[tuple[str, str], ...]) -> int:
    """Turns that break system?, user, assistant, user, …; plus one if the last turn is not the user's."""
    roles = [role for role, _ in prompt]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    wrong = sum(role != ("user", "assistant")[i % 2] for i, role in enumerate(turns))
    return wrong + (turns[-1:] != ["user"])


def prompt_columns(frame: pd.DataFrame, limits: Limits) -> dict[str, Counts]:
    prompts = conversations(frame["prompt"])
    texts = pd.Series(["\n".join(content for _, content in prompt) for prompt in prompts], dtype=object)
    return {
        "prompt_tokens": token_counts(frame["prompt_ids"]),
        "prompt_bos_tokens": id_counts(frame["prompt_ids"], () if limits.bos_token_id is None else (limits.bos_token_id,)),
        "prompt_spelt_control_tokens": spelt_counts(texts, limits.control_tokens),
        "prompt_turns_out_of_order": np.array([turns_out_of_order(p) for p in prompts], dtype=np.int64),
        "prompt_empty_turns": np.array([sum(not c.strip() for _, c in p) for p in prompts], dtype=np.int64),
        "prompt_not_as_template": _not_as_template(prompts, frame["prompt_ids"], limits.codec),
    }


def _not_as_template(prompts: list[tuple[tuple[str, str], ...]], ids: "pd.Series[Any]", codec: Codec | None) -> Counts:
    """1 where a prompt that a template takes (its turns in order, all with text) has other token ids than the template gives."""
    if codec is None:
        return np.zeros(len(prompts), dtype=np.int64)
    fit = [bool(p) and not turns_out_of_order(p) and all(content.strip() for _, content in p) for p in prompts]
    distinct = list(dict.fromkeys(p for p, good in zip(prompts, fit, strict=True) if good))
    encoded = codec.encode_prompts([[{"role": role, "content": content} for role, content in p] for p in distinct])
    expected = dict(zip(distinct, encoded, strict=True))
    wrong = (good and (row is None or list(row) != expected[prompt]) for prompt, row, good in zip(prompts, ids, fit, strict=True))
    return np.fromiter(wrong, dtype=np.int64, count=len(prompts))
