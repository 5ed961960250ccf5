"""The objectives a config may name, each with its own keys: a pydantic union on `name`; and what may be wrapped round them.

The mathematics lives in `models/objectives/`; a test holds the names here and the registry there equal.
"""

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, Field, NonNegativeFloat, PositiveFloat

from data_contracts.config_base import Strict
from data_contracts.objective_config_lists import ListObjectiveConfig
from data_contracts.objective_config_pairs import PairObjectiveConfig

ObjectiveConfig = Annotated[PairObjectiveConfig | ListObjectiveConfig, Field(discriminator="name")]

CONFIGS: dict[str, type[BaseModel]] = {
    config.model_fields["name"].annotation.__args__[0]: config
    for config in (*get_args(PairObjectiveConfig), *get_args(ListObjectiveConfig))
}


class Mixed(Strict):
    """A further objective, and its weight beside the first one's 1."""

    objective: ObjectiveConfig
    weight: PositiveFloat


class WrappersConfig(Strict):
    """What may be wrapped round an objective; nothing by default. `models/objectives/wrappers.py` says what each does."""

    mix: Annotated[tuple[Mixed, ...], Field(strict=False)] = ()  # YAML has lists
    nll_anchor: NonNegativeFloat = 0.0  # of the chosen answer's NLL a token, beside the objective
    weight_by: Literal["judge_margin", "certainty", "likelihood", "given"] | None = None
    length_desensitising: Annotated[float, Field(ge=0, lt=1)] | None = None  # LD-DPO's alpha
    trim: bool = False  # to the first token in which a pair's answers differ
