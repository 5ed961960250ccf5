"""What training is given about its examples before it begins: the references' log-probabilities and the data's own numbers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator

from data_contracts.config_align import AlignConfig
from models.checkpoint import Checkpoint
from models.objectives.batch import Need
from models.training.attention import kernel
from models.training.data import Example
from models.training.gradient import Given
from models.training.inputs import Inputs
from models.training.logps import all_tree_logps, prompt_embeddings, without_common
from models.training.reference import MICRO_BATCH, Stored, reference_key, stored_logps

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Load = Callable[[Checkpoint], "PreTrainedModel"]


def prepare(
    inputs: Inputs,
    needs: Need,
    references: Sequence[Checkpoint],
    policy: Checkpoint,
    load: Load,
    cache: Path,
    config: AlignConfig,
    accelerator: Accelerator,
) -> "tuple[Given, PreTrainedModel]":
    """Everything the objective needs of the examples, and the loaded policy. Log-probabilities are kept in the folder `cache`.

    The main reference comes first in `references`. The log-probabilities by token that on-policy objectives call old are the
    policy's before its first step, by the trainer's own forward and not the sampler's.
    """
    model: PreTrainedModel | None = None

    def of(checkpoint: Checkpoint, examples: Sequence[Example]) -> Stored:
        assert model is not None
        attention = kernel(model, accelerator.device, getattr(torch, config.dtype))
        key = reference_key(checkpoint.hash, examples, config.dtype, accelerator.device.type, attention)
        with accelerator.autocast():
            return stored_logps(cache, key, examples, lambda: all_tree_logps(model, examples, MICRO_BATCH))

    examples, main, others = inputs.examples, references[0], references[1:]
    further = []
    for checkpoint in others:
        model = load(checkpoint)
        further.append(of(checkpoint, examples)[0])
    model = load(main)
    total, tokens = of(main, examples)
    by_token = {name: [torch.tensor(rows(v)) for v in values] for name, values in inputs.by_token.items()}
    if Need.TOKENS in needs:
        by_token["token_ref"] = tokens
    numbers = {name: torch.tensor(values, dtype=torch.float32) for name, values in inputs.numbers.items()}
    if Need.PROMPT_EMBEDDING in needs:
        with accelerator.autocast():
            numbers["prompt_emb"] = without_common(prompt_embeddings(model, examples, config.micro_batch_tokens))
    aux = {name: (list(answers), of(main, answers)[0]) for name, answers in inputs.aux.items()}
    if policy != main:
        model = load(policy)
    if Need.OLD_TOKENS in needs:
        by_token["token_old"] = tokens if policy == main else of(policy, examples)[1]
    return Given(examples, torch.stack([total, *further]), numbers, by_token, aux, tokens), model


def rows(values: Sequence[Sequence[float]]) -> list[list[float]]:
    """Filled up with zeros to one length."""
    width = max(map(len, values), default=0)
    return [[*row, *[0.0] * (width - len(row))] for row in values]
