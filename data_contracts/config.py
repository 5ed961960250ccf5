"""What a run may be told. Every key is typed, unknown keys are errors, and nothing heavy is imported to find that out.

Two uses share most of it: `flow: rounds` (sample, revise or judge, align, evaluate, promote, again) and `flow: human_pairs`
(align on a preference file that is already there). Relative paths are relative to the file that names them.
"""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from data_contracts.config_align import AlignConfig
from data_contracts.config_base import Inside, Name, Strict
from data_contracts.config_evaluate import EvaluateConfig, PreferenceMetricsConfig, PromoteConfig, WinRateConfig
from data_contracts.config_judge import JudgeConfig
from data_contracts.config_pairs import Clair, MethodConfig, PairsConfig, PromptsConfig, ReviseConfig, SampleConfig
from data_contracts.config_teacher import TeacherConfig
from data_contracts.config_validate import ValidateConfig


class EngineConfig(Strict):
    """vLLM. `dtype: auto` is float32 on a CPU and bfloat16 on a GPU."""

    max_model_len: PositiveInt = 4096
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    gpu_memory: Inside = 0.85


class RoundsConfig(Strict):
    """Iterative alignment rounds on the policy's own answers."""

    flow: Literal["rounds"]
    name: Name
    seed: NonNegativeInt = 0
    rounds: PositiveInt = 1
    policy: str
    teacher: TeacherConfig
    method: MethodConfig = Clair(name="clair")
    prompts: PromptsConfig
    engine: EngineConfig = EngineConfig()
    sample: SampleConfig = SampleConfig()
    revise: ReviseConfig = ReviseConfig()
    judge: JudgeConfig = JudgeConfig()
    pairs: PairsConfig = PairsConfig()
    validate_: Annotated[ValidateConfig, Field(alias="validate")] = ValidateConfig()
    align: AlignConfig
    evaluate: EvaluateConfig
    win_rate: WinRateConfig = WinRateConfig()
    preference_metrics: PreferenceMetricsConfig | None = PreferenceMetricsConfig()
    promote: PromoteConfig = PromoteConfig()


class PairsFileConfig(Strict):
    """JSON lines, plain or gzip, with `chosen`/`rejected` transcripts or `prompt`/`chosen`/`rejected` texts or messages, or with
    `prompt`/`completion`/`label`, true or false (for objectives on single answers, such as kto).

    `prompt`, `chosen` and `rejected` say what the file calls them, a dot going one deeper.
    """

    file: str
    prompt: str = "prompt"
    chosen: str = "chosen"
    rejected: str = "rejected"
    held_out: Inside = 0.1


class HumanPairsConfig(Strict):
    """Align on a preference file a user already has."""

    flow: Literal["human_pairs"]
    name: Name
    seed: NonNegativeInt = 0
    policy: str
    pairs: PairsFileConfig
    validate_: Annotated[ValidateConfig, Field(alias="validate")] = ValidateConfig()
    align: AlignConfig


RunConfig = Annotated[RoundsConfig | HumanPairsConfig, Field(discriminator="flow")]
