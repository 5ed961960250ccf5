"""How a preference model is trained."""

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from data_contracts.config_base import Inside, Share, Strict


class PreferenceConfig(Strict):
    """`bt` (Bradley-Terry) gives each answer one reward, so its preferences are transitive; `gpm` (general preference model,
    arXiv 2410.02197) an embedding, and every two a skew-symmetric score, so that preferences may run in circles.
    """

    kind: Literal["bt", "gpm"] = "bt"
    blocks: PositiveInt = 2  # gpm: planes of the embedding, which has twice as many dimensions; bt knows none
    temperature: PositiveFloat = 0.1  # gpm: tau, by which the score of two unit embeddings is divided
    learning_rate: PositiveFloat = 1e-5
    warmup: Share = 0.1
    epochs: PositiveInt = 1
    batch_size: PositiveInt = 32  # pairs a step
    max_grad_norm: PositiveFloat = 1.0
    weight_decay: NonNegativeFloat = 0.0
    held_out: Inside = 0.1  # share of the conversations
    seed: NonNegativeInt = 0
