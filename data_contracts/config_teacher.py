"""Teachers: whoever revises and judges.

What a teacher costs, at which address and how fast it is asked and where its replies are kept (`FREE_TO_CHANGE`) decides no
reply: that is in no dataset's key and may change between two starts of one run.
"""

import re
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from data_contracts.config_base import Share, Strict

FREE_TO_CHANGE = ("base_url", "budget", "price", "concurrency", "timeout", "journal", "api_key_env", "gpus", "gpu_memory")


class Price(Strict):
    """Money for a million tokens, in the currency of the bill."""

    input: NonNegativeFloat
    output: NonNegativeFloat

    def of(self, input_tokens: int, output_tokens: int) -> float:
        return (self.input * input_tokens + self.output * output_tokens) / 1e6


class Budget(Strict):
    """The most that one run may spend on its teacher, over all its rounds and starts: tokens read and written, or money."""

    tokens: PositiveInt | None = None
    money: PositiveFloat | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "Budget":
        if self.tokens is None and self.money is None:
            raise ValueError("give tokens or money")
        return self


class _Teacher(Strict):
    """`journal` is the file of every request and reply. Not given: in the run folder for a teacher that costs nothing, beside
    the run folder (`runs/journal.db`) for one that does, so that another run does not pay again."""

    model: str
    journal: str | None = None


class LocalTeacher(_Teacher):
    """A checkpoint in the run's own engine."""

    kind: Literal["local"]


class VllmTeacher(_Teacher):
    """A checkpoint in a vLLM server of its own on loopback, which the run starts when it first asks, and stops.

    For a teacher that should not share the engine: `gpus: "2,3"` names its GPUs, one shard each; without, it takes
    `gpu_memory` of the policy's.
    """

    kind: Literal["vllm"]
    max_model_len: PositiveInt = 4096
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    gpus: Annotated[str, Field(pattern=r"^\d+(,\d+)*$")] | None = None
    gpu_memory: Annotated[Share, Field(gt=0, lt=1)] = 0.4
    concurrency: PositiveInt = 64
    timeout: PositiveFloat = 600.0  # seconds for one reply


class OpenAITeacher(_Teacher):
    """Any OpenAI-compatible server. The key is read from the environment variable named here and never stored."""

    kind: Literal["openai"]
    base_url: str
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: PositiveInt = 16  # at most: it adapts to what the server bears
    timeout: PositiveFloat = 600.0  # seconds for one reply
    price: Price | None = None
    budget: Budget | None = None


def secret_fault(teacher: OpenAITeacher) -> str | None:
    """What of a server's settings may be a secret that the configuration would spread, in words that repeat nothing of it."""
    if re.search(r"[@?#]", teacher.base_url):
        return "base_url holds more than an address (a user, a password, a ?key=): keep the key in the variable of api_key_env"
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", teacher.base_url):
        return "base_url is no address like https://host/v1: correct it"
    if teacher.base_url.rstrip("/").endswith("/completions"):
        return "base_url names the place of the completions, which is added to it: end it before that, usually at /v1"
    name = teacher.api_key_env
    # gsk_… and hf_… could be names by their form
    is_key = len(name) >= 20 and re.search("[a-z]", name) and re.search("[0-9]", name)
    if is_key or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        return "api_key_env is no variable's name: export the key in a variable such as OPENAI_API_KEY and name that"
    return None


class BatchTeacher(_Teacher):
    """Asks nobody: writes what it lacks as a provider's batch file and stops the run, until the results are imported."""

    kind: Literal["batch"]
    price: Price | None = None


TeacherConfig = Annotated[LocalTeacher | VllmTeacher | OpenAITeacher | BatchTeacher, Field(discriminator="kind")]
