"""What training is given about its examples before it begins: the references' log-probabilities and the data's own numbers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator

from data_contracts.config_align import AlignConfig
from models.checkpoint import Checkpoint
from models.objectives.batch import Need
from models.training.data import Example
from models.training.gradient import Given
from models.training.inputs import Inputs
from models.training.logps import all_tree_logps, prompt_embeddings
from models.training.reference import Stored, reference_key, stored_logps

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Load = Callable[[Checkpoint], "PreTrainedModel"]


def prepare(
    inputs: Inputs,
    needs: Need,
    references: Sequence[Checkpoint],
    policy: Checkpoint,
    load: Load,
    kept: Path,
    config: AlignConfig,
    accelerator: Accelerator,
) -> "tuple[Given, PreTrainedModel]":
    """Everything the objective needs of the examples, and the loaded policy. Log-probabilities are kept as files in `kept`.

    The main reference comes first in `references`. The log-probabilities by token that on-policy objectives call old are the
    policy's before its first step, by the trainer's own forward and not the sampler's.
    """
    model: PreTrainedModel | None = None

    def of(checkpoint: Checkpoint, name: str, examples: Sequence[Example], by_token: bool = False) -> Stored:
        assert model is not None
        key = reference_key(checkpoint.hash, examples, config.micro_batch_tokens, config.dtype, accelerator.device.type)
        with accelerator.autocast():
            return stored_logps(
                kept / f"reference{name}.parquet",
                key,
                examples,
                lambda: all_tree_logps(model, examples, config.micro_batch_tokens),
                by_token,
            )

    examples, main, others = inputs.examples, references[0], references[1:]
    further = []
    for k, checkpoint in enumerate(others, 2):
        model = load(checkpoint)
        further.append(of(checkpoint, f"_{k}", examples)[0])
    model = load(main)
    total, tokens = of(main, "", examples, Need.TOKENS in needs)
    by_token = {name: [torch.tensor(rows(v)) for v in values] for name, values in inputs.by_token.items()}
    if tokens is not None:
        by_token["token_ref"] = tokens
    numbers = {name: torch.tensor(values, dtype=torch.float32) for name, values in inputs.numbers.items()}
    if Need.PROMPT_EMBEDDING in needs:
        with accelerator.autocast():
            numbers["prompt_emb"] = prompt_embeddings(model, examples, config.micro_batch_tokens)
    aux = {name: (list(answers), of(main, f"_{name}", answers)[0]) for name, answers in inputs.aux.items()}
    if policy != main:
        model = load(policy)
    if Need.OLD_TOKENS in needs:
        old = tokens if policy == main else of(policy, "_old", examples, True)[1]
        assert old is not None
        by_token["token_old"] = old
    return Given(examples, torch.stack([total, *further]), numbers, by_token, aux), model


def rows(values: Sequence[Sequence[float]]) -> list[list[float]]:
    """Filled up with zeros to one length."""
    width = max(map(len, values), default=0)
    return [[*row, *[0.0] * (width - len(row))] for row in values]
