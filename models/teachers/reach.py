"""Whether a teacher's server is there and takes the key, asked before anything is spent on a run that would find out later."""

import asyncio
import difflib
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from data_contracts.config_teacher import OpenAITeacher
from data_contracts.errors import PlumblineError
from data_contracts.json_text import read_json
from models.teachers.http import client_of, elsewhere, text_of

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_PATIENCE = 10.0  # seconds
_REFUSED, _ABSENT = (401, 403), 404
# not even a connection, as httpx and httpx2 call it
_NOBODY = ("ConnectError", "ConnectTimeout", "ProxyError", "UnsupportedProtocol")


def key_of(config: OpenAITeacher) -> str:
    """Raises PlumblineError, without the key, if its variable holds none or one that no request can carry."""
    secret = os.environ.get(config.api_key_env, "").strip()
    if not secret:
        raise PlumblineError(
            f"the environment variable {config.api_key_env}, named by teacher.api_key_env, is not set: "
            "export the server's key in it (any word will do for a server that asks for none)"
        )
    if not re.fullmatch(r"[ -~]+", secret):
        raise PlumblineError(
            f"the key in {config.api_key_env}, named by teacher.api_key_env, holds a character that no request can carry (a line "
            "end, a letter beyond ASCII): export it again"
        )
    return secret


def reach(config: OpenAITeacher) -> str | None:
    """What is doubtful about the server, in words, or None where nothing is.

    Nothing is paid: its list of models is asked for and, where that is refused or missing, an empty completion, which a server
    refuses for its key first and for its emptiness second. So a key that may not list models passes, and a server without such a
    list. What else a server answers, errors and a list without the model among them, is no proof against it.

    Raises PlumblineError if nobody is there, or the key is refused.
    """
    import openai

    secret, server = key_of(config), f"the teacher's server {urlsplit(config.base_url).hostname}"
    try:
        status, text, other = asyncio.run(_tried(config.base_url, secret))
    except TimeoutError:
        return None  # somebody is there, who is slow
    except openai.APIConnectionError as error:
        why = type(error.__cause__).__name__
        if why in _NOBODY:
            raise PlumblineError(f"{server} cannot be reached ({why}): check teacher.base_url and the network") from None
        return None  # or who broke off
    if status == other == _ABSENT:
        return f"{server} knows neither /models nor /chat/completions below teacher.base_url, which usually ends in /v1"
    if 300 <= status < 400:
        raise PlumblineError(f"{server} {text}")
    if status in _REFUSED:
        raise PlumblineError(
            f"{server} refused the key in {config.api_key_env}, named by teacher.api_key_env (HTTP {status}): export a valid one"
        )
    names = _models(text) if status == 200 else []
    if names and not any(name == config.model or name.endswith(f"/{config.model}") for name in names):
        near = ", ".join(repr(name[:80]) for name in difflib.get_close_matches(config.model, names, 3, 0.4) or names[:3])
        return f"{server} does not list the model {config.model!r}, but {near}: correct teacher.model unless you know better"
    return None


async def _tried(address: str, secret: str) -> tuple[int, str, int | None]:
    """Status and text of the answer to the last question, and the status of the one before it, if there was one."""
    async with asyncio.timeout(_PATIENCE), client_of(address, secret, _PATIENCE) as client:
        status, text = await _ask(client, about_models=True)
        if status not in (*_REFUSED, _ABSENT):
            return status, text, None
        return *await _ask(client, about_models=False), status


async def _ask(client: "AsyncOpenAI", about_models: bool) -> tuple[int, str]:
    """Status and text of the answer, whatever it is: to the question for the models, or to an empty completion."""
    import openai

    try:
        if about_models:
            return 200, await text_of(client.models.with_streaming_response.list())
        await client.post("/chat/completions", cast_to=object, body={})
    except openai.APIStatusError as error:
        return error.status_code, elsewhere(error.response) if error.response.is_redirect else ""
    return 200, ""


def _models(text: str) -> list[str]:
    """Ids in a server's list of models; none where it is no such list."""
    try:
        body: Any = read_json(text)
    except ValueError:
        return []
    entries = body.get("data") if isinstance(body, dict) else None
    return [e["id"] for e in entries if isinstance(e, dict) and isinstance(e.get("id"), str)] if isinstance(entries, list) else []
