"""Teachers: whoever revises and judges. A checkpoint in the run's own engine, or any OpenAI-compatible server.

Both are the same plain value with two functions, and both write each reply to the journal before anybody reads it.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from data_contracts.config_teacher import OpenAITeacher
from data_contracts.errors import PassingError, PlumblineError
from models.chat import Message, encode_answer, encode_prompt
from models.checkpoint import Checkpoint
from models.engine import Engine, Progress, Sampling
from models.journal import Journal, Reply, Request, requests_of

if TYPE_CHECKING:
    from openai import APIError, OpenAI

Conversation = Sequence[Message]
_AT_ONCE = 512  # local requests between two writes to the journal: more than a batch, little enough to do again
_RETRIES = 6  # the client's own, with exponential backoff or the server's Retry-After
_TIMEOUT = 600.0  # seconds for one reply


@dataclass(frozen=True)
class Teacher:
    """`complete(conversations, sampling, seed, progress)` gives one reply each, in order.

    `score(conversations, answers)` gives each answer's log-probability in nats, its end-of-sequence token included; servers
    cannot, so theirs is None. `choose(conversations, choices, sampling, seed, progress)` is `complete` with every reply one of
    `choices`, and `weigh(conversations, choices, progress)` gives the log-probability in nats of each of them as the reply.
    """

    name: str  # the server's model id, or the checkpoint's hash
    complete: Callable[[Sequence[Conversation], Sampling, int, Progress], list[Reply]]
    score: Callable[[Sequence[Conversation], Sequence[str]], list[float]] | None = None
    choose: Callable[[Sequence[Conversation], Sequence[str], Sampling, int, Progress], list[Reply]] | None = None
    weigh: Callable[[Sequence[Conversation], Sequence[str], Progress], list[list[float]]] | None = None


def local_teacher(engine: Engine, checkpoint: Checkpoint, journal: Journal) -> Teacher:
    """The teacher whose weights are `checkpoint`, swapped into the engine only when something has to be asked."""

    def complete(conversations: Sequence[Conversation], sampling: Sampling, seed: int, progress: Progress) -> list[Reply]:
        return choose(conversations, (), sampling, seed, progress)

    def choose(
        conversations: Sequence[Conversation], choices: Sequence[str], sampling: Sampling, seed: int, progress: Progress
    ) -> list[Reply]:
        settings = asdict(sampling) | ({"choices": list(choices)} if choices else {})
        requests = requests_of(checkpoint.hash, conversations, settings, seed)
        replies = journal.lookup([r.key for r in requests])
        missing = [r for r in requests if r.key not in replies]
        progress(len(replies), len(requests))
        for i in range(0, len(missing), _AT_ONCE):
            some = missing[i : i + _AT_ONCE]
            engine.use(checkpoint)
            prompts = [encode_prompt(engine.tokenizer, r.messages) for r in some]
            fits = [i for i, prompt in enumerate(prompts) if len(prompt) < engine.max_model_len]
            made = engine.generate(
                [prompts[i] for i in fits],
                sampling,
                [_seed(some[i]) for i in fits],
                _after(len(replies), len(requests), progress),
                choices,
            )
            answered = {i: Reply(c.text, c.finish_reason) for i, c in zip(fits, made, strict=True)}
            fresh = [(r, answered.get(i, Reply("", "too_long"))) for i, r in enumerate(some)]
            journal.store(fresh)
            replies |= {r.key: reply for r, reply in fresh}
        return [replies[r.key] for r in requests]

    def score(conversations: Sequence[Conversation], answers: Sequence[str]) -> list[float]:
        engine.use(checkpoint)
        prompts = [encode_prompt(engine.tokenizer, c) for c in conversations]
        return engine.score(prompts, [encode_answer(engine.tokenizer, a) for a in answers])

    def weigh(conversations: Sequence[Conversation], choices: Sequence[str], progress: Progress) -> list[list[float]]:
        values = score([c for c in conversations for _ in choices], [*choices] * len(conversations))
        progress(len(conversations), len(conversations))
        return [values[i : i + len(choices)] for i in range(0, len(values), len(choices))]

    return Teacher(checkpoint.hash, complete, score, choose, weigh)


def openai_teacher(config: OpenAITeacher, journal: Journal) -> Teacher:
    """The teacher behind an OpenAI-compatible chat completions server, `config.concurrency` requests at a time.

    Raises PlumblineError at once if the key is missing, and later if the server cannot be reached or refuses; replies that
    had arrived by then are in the journal.
    """
    secret = os.environ.get(config.api_key_env, "").strip()
    if not secret:
        raise PlumblineError(
            f"the environment variable {config.api_key_env}, named by teacher.api_key_env, is not set: "
            "export the server's key in it (any word will do for a server that asks for none)"
        )

    def complete(conversations: Sequence[Conversation], sampling: Sampling, seed: int, progress: Progress) -> list[Reply]:
        requests = requests_of(config.model, conversations, asdict(sampling), seed)
        replies = journal.lookup([r.key for r in requests])
        progress(len(replies), len(requests))
        if len(replies) < len(requests):
            _ask_server(config, secret, journal, requests, replies, progress)
        return [replies[r.key] for r in requests]

    return Teacher(config.model, complete)


def _ask_server(
    config: OpenAITeacher,
    secret: str,
    journal: Journal,
    requests: Sequence[Request],
    replies: dict[str, Reply],
    progress: Progress,
) -> None:
    """Adds to `replies` what is missing there; every reply is in the journal the moment it arrives."""
    from openai import APIError, OpenAI

    with (
        OpenAI(base_url=config.base_url, api_key=secret, max_retries=_RETRIES, timeout=_TIMEOUT) as client,
        ThreadPoolExecutor(config.concurrency) as pool,
    ):

        def ask(request: Request) -> tuple[str, Reply]:
            reply = _ask(client, request)
            journal.store([(request, reply)])
            return request.key, reply

        waiting = [pool.submit(ask, r) for r in requests if r.key not in replies]
        try:
            for finished in as_completed(waiting):
                key, reply = finished.result()
                replies[key] = reply
                progress(len(replies), len(requests))
        except APIError as error:
            status = getattr(error, "status_code", None)
            kind = PassingError if status is None or status == 429 or status >= 500 else PlumblineError
            raise kind(_refusal(error, config, secret)) from None  # the cause's text may hold the key
        finally:
            pool.shutdown(wait=True, cancel_futures=True)  # what is on its way is paid for: wait for it, start nothing new


def _ask(client: "OpenAI", request: Request) -> Reply:
    from openai import BadRequestError

    messages: Any = request.content["messages"]
    try:
        answer = client.chat.completions.create(model=request.model, messages=messages, seed=_seed(request), **request.sampling)
    except BadRequestError as error:
        about = f"{error.code} {error.message}".lower()
        for reason, sign in (
            ("content_filter", "content_filter"),
            ("too_long", "context_length"),
            ("too_long", "context length"),
        ):
            if sign in about:  # this one request's own fault: the others can go on
                return Reply("", reason)
        raise
    if getattr(answer, "choices", None) is None:  # a web page, or an error sent as a success
        raise PlumblineError(
            f"the teacher's server {client.base_url.host} answered with something else than a chat completion: "
            "check teacher.base_url (it usually ends in /v1), then resume the run"
        )
    if not answer.choices:
        return Reply("", "no_choice")
    choice = answer.choices[0]
    text = (choice.message.content or "").encode("utf-8", "replace").decode()  # JSON can spell what no text file can hold
    return Reply(text, "refusal" if choice.message.refusal else str(choice.finish_reason))


def _refusal(error: "APIError", config: OpenAITeacher, secret: str) -> str:
    server = f"the teacher's server {urlsplit(config.base_url).hostname}"
    status = getattr(error, "status_code", None)
    if status is None:
        return f"{server} gave no answer ({type(error).__name__}): check teacher.base_url and the network, then resume the run"
    if status in (401, 403):
        return f"{server} refused the key in {config.api_key_env} (HTTP {status}): export a valid one, then resume the run"
    said = " ".join(str(error.message).replace(secret, "[key]").split())[:200]
    return f"{server} refused model {config.model!r} (HTTP {status}): {said!r}; correct teacher in the config or resume later"


def _after(known: int, total: int, progress: Progress) -> Progress:
    return lambda done, _: progress(known + done, total)


def _seed(request: Request) -> int:
    """Decided by the request alone, so that it is the same whatever is asked beside it. 31 bits: servers take signed ints."""
    return int(request.key, 16) % 2**31
