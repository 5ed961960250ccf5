"""The objectives a config may name, each with its own keys: a pydantic union on `name`.

The mathematics lives in `models/objectives/`; a test holds the names here and the registry there equal. The defaults are the
papers' or, where a paper names none, those of its authors' code.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat


class _Objective(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def parameters(self) -> dict[str, float]:
        return self.model_dump(exclude={"name"})


class Sft(_Objective):
    name: Literal["sft"]


class Dpo(_Objective):
    name: Literal["dpo"]
    beta: PositiveFloat = 0.1


class ApoZero(_Objective):
    name: Literal["apo_zero"]
    beta: PositiveFloat = 0.1


class ApoDown(_Objective):
    name: Literal["apo_down"]
    beta: PositiveFloat = 0.1


class Kto(_Objective):
    name: Literal["kto"]
    beta: PositiveFloat = 0.1
    desirable_weight: PositiveFloat = 1.0
    undesirable_weight: PositiveFloat = 1.0


class ApoZeroUnpaired(_Objective):
    name: Literal["apo_zero_unpaired"]
    beta: PositiveFloat = 0.1


ObjectiveConfig = Annotated[Sft | Dpo | ApoZero | ApoDown | Kto | ApoZeroUnpaired, Field(discriminator="name")]
