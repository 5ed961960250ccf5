"""Teachers: whoever revises and judges."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from data_contracts.config_base import Strict


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
