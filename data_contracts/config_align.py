"""How the policy is aligned."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from data_contracts.config_base import Share, Strict
from data_contracts.objective_config import ObjectiveConfig, WrappersConfig


class LoraConfig(Strict):
    """Low-rank adapters on every linear layer but the head; the checkpoint that comes out has them merged."""

    rank: PositiveInt = 16
    alpha: PositiveInt = 32


class AlignConfig(Strict):
    objective: ObjectiveConfig
    wrappers: WrappersConfig = WrappersConfig()
    reference: Literal["initial", "previous"] = "previous"
    learning_rate: PositiveFloat = 2e-7
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    warmup: Share = 0.1
    epochs: PositiveInt = 1
    checkpoints: Literal["last", "epochs"] = "last"  # epochs: each epoch's model is kept and measured, as in the CLAIR paper
    batch_size: PositiveInt = 64
    micro_batch_tokens: PositiveInt = 8192
    max_grad_norm: PositiveFloat = 1.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    dtype: Literal["float32", "bfloat16"] = "float32"
    optimizer: Literal["adamw", "rmsprop"] = "adamw"
    lora: LoraConfig | None = None  # None: all weights are trained
    gradient_checkpointing: bool = False  # less memory, a third more time
