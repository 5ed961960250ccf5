"""What every part of the configuration is built on."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Inside = Annotated[float, Field(gt=0, lt=1)]  # a share, but neither nothing nor all
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]  # also a folder's


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=(), allow_inf_nan=False)
