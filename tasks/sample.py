"""Sample: the policy answers each prompt itself, `n` times."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.config_pairs import SampleConfig
from data_contracts.errors import PlumblineError
from data_contracts.store import Dataset, build
from models.chat import encode_prompt
from models.checkpoint import Checkpoint
from models.engine import Engine, Progress, Sampling, quiet
from models.text_measures import sizes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def sample(
    folder: Path,
    prompts: Dataset,
    config: SampleConfig,
    policy: Checkpoint,
    engine: Engine,
    seed: int,
    progress: Progress = quiet,
) -> Dataset:
    """One row per answer, with the sampler's own token ids, its finish reason and the policy's hash.

    Each request has a seed of its own, derived from `seed` and the sample's id, so that an answer does not depend on which others
    were asked beside it. Sampler log-probabilities are not kept: the trainer recomputes them with its own forward.
    """

    def make(_work: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        engine.use(policy)
        rows = []
        for row in prompts.records():
            ids = encode_row(engine.tokenizer, row)
            for index in range(config.n):
                sample_id = f"{row['prompt_id']}/{index}"
                rows.append(
                    {**row, "sample_id": sample_id, "prompt_ids": ids, "index": index, "seed": request_seed(seed, sample_id)}
                )
        sampling = Sampling(config.temperature, config.top_p, config.max_tokens)
        completions = engine.generate([r["prompt_ids"] for r in rows], sampling, [r["seed"] for r in rows], progress)
        for row, completion in zip(rows, completions, strict=True):
            row |= {"text": completion.text, "token_ids": completion.token_ids, "finish_reason": completion.finish_reason}
            row |= {"stopped": completion.stopped, "policy": policy.hash}
        return rows, {"samples": len(rows), **sizes(rows)}

    slice_ = {**config.model_dump(mode="json"), "seed": seed}
    return build(folder, "samples", slice_, make, [prompts], {"policy": policy.hash})


def encode_row(tokenizer: "PreTrainedTokenizerFast", row: dict[str, Any], whose: str = "the policy's") -> list[int]:
    """Token ids of a row's prompt. Raises PlumblineError if the chat template does not take it."""
    from jinja2 import TemplateError

    try:
        return encode_prompt(tokenizer, row["prompt"])
    except (TemplateError, TypeError) as error:
        raise PlumblineError(
            f"prompt {row['prompt_id']!r} does not fit {whose} chat template ({error}): correct or remove it"
        ) from None


def request_seed(seed: int, name: str) -> int:
    """A 32-bit seed that depends on nothing but its two arguments."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4], "big")
