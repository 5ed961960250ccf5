"""The teacher behind any OpenAI-compatible server of chat completions."""

import asyncio
from urllib.parse import urlsplit

from data_contracts.config_teacher import OpenAITeacher
from models.engine import Progress
from models.journal import Journal, Reply, Request
from models.teacher import Keep, Teacher, server_teacher
from models.teachers.budget import Allowance
from models.teachers.http import attempt, chat_body, client_of, refusal
from models.teachers.reach import key_of
from models.teachers.scheduler import Again, ask_all
from models.teachers.weigh import CHAT


def openai_teacher(config: OpenAITeacher, journal: Journal) -> Teacher:
    """At most `config.concurrency` requests at a time, fewer where the server puts them off.

    Raises PlumblineError at once if the key is missing, and later if the server cannot be reached or refuses or the budget is
    used up; replies that had arrived by then are in the journal, which also remembers what was not asked.
    """
    secret = key_of(config)

    def ask(missing: list[Request], keep: Keep, _: Progress) -> None:
        try:
            asyncio.run(_ask(config, secret, missing, Allowance(config.budget, config.price, journal), keep))
        finally:
            answered = journal.lookup([request.key for request in missing])
            journal.want(request for request in missing if request.key not in answered)

    return server_teacher(config.model, journal, ask, CHAT)


async def _ask(config: OpenAITeacher, secret: str, missing: list[Request], allowance: Allowance, keep: Keep) -> None:
    server = f"the teacher's server {urlsplit(config.base_url).hostname}"
    async with client_of(config.base_url, secret, config.timeout) as client:

        async def once(request: Request) -> Reply | Again:
            return await attempt(
                lambda: client.chat.completions.with_streaming_response.create(**chat_body(request)),
                server,
                lambda error: refusal(error, server, config.model, config.api_key_env, secret),
                config.timeout,
            )

        await ask_all(missing, once, config.concurrency, allowance, keep)
