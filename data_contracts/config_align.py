"""How the policy is aligned."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from data_contracts.config_base import Inside, Share, Strict
from data_contracts.objective_config import ObjectiveConfig, WrappersConfig


class LoraConfig(Strict):
    """Low-rank adapters on every matrix (of experts and routers, too) but the embeddings and the head; the checkpoint that comes
    out has them merged."""

    rank: PositiveInt = 16
    alpha: PositiveInt = 32


class EmaConfig(Strict):
    """Reference `ema`: every so many steps it becomes `rate` policy + (1 - rate) itself (TR-DPO, arXiv 2404.09656)."""

    rate: Annotated[float, Field(gt=0, le=1)] = 0.6
    every: PositiveInt = 512


class CurriculumConfig(Strict):
    """Easy pairs first, and each stage's reference is the previous stage's model (Curry-DPO, arXiv 2403.07230).

    Easy is a wide gap: in the judge's scores (`margin`), or in the reference's log-probabilities (`reference_gap`).
    """

    by: Literal["margin", "reference_gap"] = "reference_gap"
    stages: Annotated[int, Field(ge=2)] = 3


class EarlyStopConfig(Strict):
    """Stop when held-out pairs are ranked no better for `patience` checks, one every so many steps, and keep the best weights."""

    held_out: Inside = 0.1  # share of the prompts
    every: PositiveInt = 10
    patience: PositiveInt = 3


class AlignConfig(Strict):
    """`initial` is the run's start, `previous` the model that is trained on; `extrapolated` lies beyond it, away from its
    predecessor, by `extrapolation` times the way between them. With `momentum` the round's own result is carried on like that
    (accelerated preference optimisation, arXiv 2410.06293; both amounts are assumed)."""

    objective: ObjectiveConfig
    wrappers: WrappersConfig = WrappersConfig()
    reference: Literal["initial", "previous", "ema", "extrapolated"] = "previous"
    ema: EmaConfig = EmaConfig()
    extrapolation: PositiveFloat = 0.3
    second_reference: str | None = None  # for mrpo: "initial", "previous", or a checkpoint
    momentum: NonNegativeFloat = 0.0
    curriculum: CurriculumConfig | None = None
    learning_rate: PositiveFloat = 2e-7
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    warmup: Share = 0.1
    epochs: PositiveInt = 1
    checkpoints: Literal["last", "epochs"] = "last"  # epochs: each epoch's model is kept and measured, as in the CLAIR paper
    batch_size: PositiveInt = 64
    micro_batch_tokens: PositiveInt = 8192
    max_grad_norm: PositiveFloat = 1.0
    weight_decay: NonNegativeFloat = 0.0
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: float32 on a CPU, bfloat16 on a GPU
    optimizer: Literal["adamw", "rmsprop"] = "adamw"
    lora: LoraConfig | None = None  # None: all weights are trained
    gradient_checkpointing: bool = False  # less memory, a third more time
    early_stop: EarlyStopConfig | None = None
    processes: PositiveInt | None = None  # that share the work on this machine; None: one a GPU, or one
    sharded: bool = False  # FSDP2: weights, gradients and moments are split over the processes

    @property
    def objectives(self) -> list[ObjectiveConfig]:
        """The objective, and those mixed with it."""
        return [self.objective, *(mixed.objective for mixed in self.wrappers.mix)]


SHARING = {"processes", "sharded"}  # who does the work decides nothing about what is made
