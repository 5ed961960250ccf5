"""What a run may be told. Every key is typed, unknown keys are errors, and nothing heavy is imported to find that out.

Two uses share most of it: `flow: rounds` (sample, revise or judge, align, evaluate, promote, again) and `flow: human_pairs`
(align on a preference file that is already there). Relative paths are relative to the file that names them.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt

from data_contracts.objective_config import ObjectiveConfig, WrappersConfig

Share = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=(), allow_inf_nan=False)


class EngineConfig(Strict):
    """vLLM. `dtype: auto` is float32 on a CPU and bfloat16 on a GPU."""

    max_model_len: PositiveInt = 4096
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    gpu_memory: Annotated[float, Field(gt=0, lt=1)] = 0.85


class PromptsConfig(Strict):
    """JSON lines with `prompt` (text, or a list of role/content messages) and optionally `id`."""

    file: str
    per_round: PositiveInt


class LocalTeacher(Strict):
    """A checkpoint in the run's own engine."""

    kind: Literal["local"]
    model: str


class OpenAITeacher(Strict):
    """Any OpenAI-compatible server. The key is read from the environment variable named here and never stored."""

    kind: Literal["openai"]
    base_url: str
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: PositiveInt = 16


TeacherConfig = Annotated[LocalTeacher | OpenAITeacher, Field(discriminator="kind")]


class SampleConfig(Strict):
    n: PositiveInt = 1
    temperature: Annotated[float, Field(ge=0)] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: PositiveInt = 1024


class ReviseConfig(Strict):
    template: str = "minimal-1"
    temperature: Annotated[float, Field(ge=0)] = 0.7
    max_tokens: PositiveInt = 4096


class JudgeConfig(Strict):
    """`generation` asks both ways round, disagreement is a tie; `likelihood` compares a local teacher's log-probabilities."""

    kind: Literal["generation", "likelihood"] = "generation"
    template: str = "pairwise-1"
    temperature: Annotated[float, Field(ge=0)] = 0.0
    max_tokens: PositiveInt = 1024


class ValidateConfig(Strict):
    """Rows that break a contract go to quarantine; more than `max_quarantined`, or too few rows left, stops the round."""

    max_tokens: PositiveInt = 4096
    max_quarantined: Share = 0.5
    min_rows: PositiveInt = 32


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
    batch_size: PositiveInt = 64
    micro_batch_tokens: PositiveInt = 8192
    max_grad_norm: PositiveFloat = 1.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    dtype: Literal["float32", "bfloat16"] = "float32"
    optimizer: Literal["adamw", "rmsprop"] = "adamw"
    lora: LoraConfig | None = None  # None: all weights are trained
    gradient_checkpointing: bool = False  # less memory, a third more time


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


class RoundsConfig(Strict):
    """Iterative alignment rounds on the policy's own answers."""

    flow: Literal["rounds"]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    seed: NonNegativeInt = 0
    rounds: PositiveInt = 1
    policy: str
    teacher: TeacherConfig
    method: Literal["clair", "on_policy_judge"] = "clair"
    prompts: PromptsConfig
    engine: EngineConfig = EngineConfig()
    sample: SampleConfig = SampleConfig()
    revise: ReviseConfig = ReviseConfig()
    judge: JudgeConfig = JudgeConfig()
    validate_: Annotated[ValidateConfig, Field(alias="validate")] = ValidateConfig()
    align: AlignConfig
    evaluate: EvaluateConfig
    promote: PromoteConfig = PromoteConfig()


class PairsFileConfig(Strict):
    """JSON lines, plain or gzip, with `chosen`/`rejected` transcripts or `prompt`/`chosen`/`rejected` texts or messages."""

    file: str
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1


class HumanPairsConfig(Strict):
    """Align on a preference file a user already has."""

    flow: Literal["human_pairs"]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    seed: NonNegativeInt = 0
    policy: str
    pairs: PairsFileConfig
    validate_: Annotated[ValidateConfig, Field(alias="validate")] = ValidateConfig()
    align: AlignConfig


RunConfig = Annotated[RoundsConfig | HumanPairsConfig, Field(discriminator="flow")]
PATH_KEYS = ("policy", "teacher.model", "prompts.file", "evaluate.benchmark", "pairs.file")


def resolve_path(reference: str, base: Path) -> str:
    """A path that exists becomes absolute; anything else (a hub id such as `org/name`) stays as it is."""
    path = Path(reference).expanduser()
    path = path if path.is_absolute() else base / path
    return str(path.resolve()) if path.exists() else reference
