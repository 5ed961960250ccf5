"""How a checkpoint is measured, and when it is promoted."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from data_contracts.config_base import Share, Strict


class EvaluateConfig(Strict):
    """A folder in MixEval's data format. `prompts: mixeval` wraps each question as MixEval does, `plain` asks it as it stands."""

    benchmark: str
    prompts: Literal["mixeval", "plain"] = "mixeval"
    parser: Literal["rule-1", "strict-1"] = "rule-1"
    max_tokens: PositiveInt = 512


class PromoteConfig(Strict):
    """Promote if the paired gain on `metric` is above `min_gain` with this confidence and the win rate is high enough."""

    metric: Literal["overall", "free-form", "multiple-choice"] = "overall"
    min_gain: float = 0.0
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    min_win_rate: Share = 0.5
