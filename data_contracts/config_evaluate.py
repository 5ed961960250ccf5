"""How a checkpoint is measured, and when it is promoted."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from data_contracts.config_base import Name, Share, Strict


class EvaluateConfig(Strict):
    """A folder in MixEval's data format, or a copy on the hub (`hub:org/name/folder`).

    `prompts`: `mixeval` wraps each question as MixEval does for chat models, `mixeval-base` puts five answered examples before it
    for base models (ours, or `shots`: a folder with free-form.txt and multiple-choice.txt), `plain` asks it as it stands.
    The model parsers ask the run's teacher. Upstream's limits are 512 tokens for chat models and 399 for base models.
    """

    benchmark: str
    prompts: Literal["mixeval", "mixeval-base", "plain"] = "mixeval"
    shots: str | None = None
    parser: Literal["rule-1", "rule-2", "strict-1", "official-rule", "model-1", "official-model-1"] = "rule-2"
    max_tokens: PositiveInt = 512
    harness: "HarnessConfig | None" = None


class HarnessConfig(Strict):
    """Tasks of lm-evaluation-harness, by name, on the run's engine; `folder` holds tasks of one's own. `limit`: questions a task.

    `shots` None is the task's own number of examples; `chat` wraps each prompt in the model's template.
    """

    tasks: Annotated[list[str], Field(min_length=1)]
    folder: str | None = None
    limit: PositiveInt | None = None
    shots: NonNegativeInt | None = None
    chat: bool = False


class RecordedAnswers(Strict):
    """Somebody's answers to the benchmark, as JSON lines, found by the prompt as it is asked. A dot in the keys goes deeper."""

    name: Name
    file: str
    prompt: str = "prompt"
    answer: str = "response"


class WinRateConfig(Strict):
    """Whom a candidate's answers are compared with, besides the previous model's, which they always are."""

    against: list[Literal["start"] | RecordedAnswers] = Field(default_factory=list)


class PreferenceMetricsConfig(Strict):
    """What is measured of a candidate besides its scores, by sampling from it and by its log-probabilities.

    `pairs` of the round, `samples` answers each to `prompts` questions of the benchmark. With `held_out`, that share of the
    round's pairs is not trained on and measured instead of the others.
    """

    pairs: PositiveInt = 64
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.0
    prompts: PositiveInt = 32
    samples: Annotated[int, Field(ge=2)] = 4


class PromoteConfig(Strict):
    """Promote if the paired gain on `metric` is above `min_gain` with this confidence, no metric of `guards` lost with this
    confidence, and the win rate is high enough.

    A metric is `overall`, a split, a source benchmark such as `GSM8k`, or `harness.<task>.<metric>`. `against` is the comparison
    whose win rate counts: `previous`, or one that `win_rate.against` names; `min_win_rate_low` bounds its interval's lower end.
    """

    metric: str = "overall"
    guards: list[str] = Field(default_factory=list)
    min_gain: float = 0.0
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    against: str = "previous"
    length_controlled: bool = False
    min_win_rate: Share = 0.5
    min_win_rate_low: Share = 0.0
