"""How a checkpoint is measured, and when it is promoted."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from data_contracts.config_base import Share, Strict


class EvaluateConfig(Strict):
    """A folder in MixEval's data format, or a copy on the hub (`hub:org/name/folder`).

    `prompts`: `mixeval` wraps each question as MixEval does for chat models, `mixeval-base` puts five answered examples before it
    for base models (ours, or `shots`: a folder with free-form.txt and multiple-choice.txt), `plain` asks it as it stands.
    The model parsers ask the run's teacher. Upstream's limits are 512 tokens for chat models and 399 for base models.
    """

    benchmark: str
    prompts: Literal["mixeval", "mixeval-base", "plain"] = "mixeval"
    shots: str | None = None
    parser: Literal["rule-1", "rule-2", "strict-1", "official-rule", "model-1", "official-model-1"] = "rule-1"
    max_tokens: PositiveInt = 512


class PromoteConfig(Strict):
    """Promote if the paired gain on `metric` is above `min_gain` with this confidence and the win rate is high enough."""

    metric: Literal["overall", "free-form", "multiple-choice"] = "overall"
    min_gain: float = 0.0
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    min_win_rate: Share = 0.5
