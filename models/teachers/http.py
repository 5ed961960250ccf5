"""One call of an OpenAI-compatible server: what to send, what came back, and what a refusal means."""

import asyncio
import email.utils
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from data_contracts.errors import PassingError, PlumblineError, in_short
from data_contracts.json_text import read_json
from data_contracts.mask import is_http
from models.journal import Reply, Request
from models.teachers.scheduler import Again
from models.teachers.weigh import candidates_in

if TYPE_CHECKING:
    from openai import APIError, AsyncOpenAI

_PASSING = (408, 409, 425, 429)  # with every 5xx: may be answered later
_LARGEST = 2**26  # bytes of an answer: no reply is as long, and memory ends
_QUOTA = "insufficient_quota"  # a 429 that no waiting mends
_OWN_FAULT = (("content_filter", "content_filter"), ("too_long", "context_length"), ("too_long", "context length"))


def client_of(address: str, key: str, timeout: float, proxies: bool = True) -> "AsyncOpenAI":
    """A client that tries once and follows nobody elsewhere; `timeout` in seconds for each part of an exchange."""
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    http = DefaultAsyncHttpxClient(follow_redirects=False, trust_env=proxies, timeout=timeout)
    return AsyncOpenAI(base_url=address, api_key=key, max_retries=0, timeout=timeout, http_client=http)


def chat_body(request: Request) -> dict[str, Any]:
    """The body of a chat completions request, online or in a batch."""
    return {"model": request.model, "messages": request.content["messages"], "seed": request.server_seed, **request.sampling}


async def attempt(
    call: Callable[[], AbstractAsyncContextManager[Any]], server: str, explain: Callable[["APIError"], str], timeout: float
) -> Reply | Again:
    """One try; `call` opens the answer (openai's `with_streaming_response`), which is to be whole after `timeout` seconds.

    Raises PlumblineError, in the words of `explain`, for a refusal that trying again would not mend.
    """
    from openai import APIConnectionError, APIError, APITimeoutError, BadRequestError

    try:
        async with asyncio.timeout(timeout):  # the client's own is for each of its parts, and they may drip for ever
            text = await text_of(call())
    except BadRequestError as error:
        if reply := own_fault(f"{error.code} {error.message}"):
            return reply
        raise PlumblineError(explain(error)) from None
    except (APITimeoutError, TimeoutError):
        return Again(PassingError(f"{server} gave no answer within teacher.timeout ({timeout:g} s): raise it or resume later"))
    except APIConnectionError as error:
        return Again(PassingError(explain(error)))
    except APIError as error:  # the cause's text may hold the key, so it is not chained
        status = getattr(error, "status_code", None) or 0
        if (status in _PASSING or status >= 500) and error.code != _QUOTA:
            wait = retry_after(getattr(error, "response").headers)  # noqa: B009
            return Again(PassingError(explain(error)), wait, throttled=status == 429)
        raise PlumblineError(explain(error)) from None
    reply = read_reply(text)
    if reply is None:  # a web page, or an error sent as a success
        raise PlumblineError(
            f"{server} answered with something else than a chat completion: check teacher.base_url (it usually ends in /v1), "
            "then resume the run"
        )
    return reply


async def text_of(opening: AbstractAsyncContextManager[Any]) -> str:
    """The text of an answer; nothing where it is too long to be one. Raises openai's errors, also where it breaks off."""
    from openai import APIConnectionError

    async with opening as answer:
        parts, size = list[bytes](), 0
        try:
            async for part in answer.iter_bytes():
                parts.append(part)
                size += len(part)
                if size > _LARGEST:
                    return ""
        except Exception as error:  # the edge: whatever the library below openai's calls a connection that broke
            raise APIConnectionError(request=answer.http_request) from error
        return b"".join(parts).decode("utf-8", "replace")


def elsewhere(response: Any) -> str:
    """What to say of an answer that sends to another address, where prompts would go without anybody having named it."""
    location = response.headers.get("location", "")
    place = f"{urlsplit(location).scheme}://{urlsplit(location).hostname}" if is_http(location) else "not of the web"
    return f"sends to another address ({place}, HTTP {response.status_code}): name the right one in teacher.base_url"


def own_fault(about: str) -> Reply | None:
    """The reply that stands for a refusal which is this one request's own fault, so that the others can go on."""
    reasons = [reason for reason, sign in _OWN_FAULT if sign in about.lower()]
    return Reply("", reasons[0], 0, 0) if reasons else None


def refusal(error: "APIError", server: str, model: str, key_env: str, secret: str) -> str:
    """One sentence without the key."""
    status = getattr(error, "status_code", None)
    if status is None:
        return f"{server} gave no answer ({type(error).__name__}): check teacher.base_url and the network, then resume the run"
    if 300 <= status < 400:
        return f"{server} {elsewhere(getattr(error, 'response'))}, then resume the run"  # noqa: B009
    if status in (401, 403):
        return f"{server} refused the key in {key_env} (HTTP {status}): export a valid one, then resume the run"
    said = in_short(str(error.message).replace(secret, "[key]"))
    return f"{server} refused model {model!r} (HTTP {status}): {said!r}; correct teacher in the config or resume later"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server wants to be left alone, from `retry-after-ms` or `retry-after` (seconds or a date); or None."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if value.replace(".", "", 1).isdecimal():
            return float(value) / scale
    try:
        date = email.utils.parsedate_tz(headers.get("retry-after", ""))
        return None if date is None else max(0.0, email.utils.mktime_tz(date) - time.time())
    except (ValueError, OverflowError):  # the year 99999
        return None


def read_reply(text: str) -> Reply | None:
    """The reply in the text of a (chat) completion, or None if it is not one. Nothing in the text is trusted."""
    try:
        return reply_in(read_json(text))
    except ValueError:
        return None


def reply_in(body: Any) -> Reply | None:
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list):
        return None
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    counts = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    if not choices or not isinstance(choices[0], dict):
        return Reply("", "no_choice", *counts)
    message = choices[0].get("message", {"content": choices[0].get("text")})
    message = message if isinstance(message, dict) else {}
    content = message.get("content")
    text = candidates_in(choices[0]) or (content if isinstance(content, str) else "")
    text = text.encode("utf-8", "replace").decode()  # JSON can spell what no text file can hold
    return Reply(text, "refusal" if message.get("refusal") else str(choices[0].get("finish_reason"))[:40], *counts)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40 else None
