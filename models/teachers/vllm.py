"""The teacher whose checkpoint runs in a vLLM server of its own, beside the run's engine.

It is sent token ids, not messages: text that spells a control token stays text, exactly as in the engine, and the same requests
have the same names in the journal whichever of the two answers them.
"""

import asyncio
from pathlib import Path

from data_contracts.config_teacher import VllmTeacher
from data_contracts.errors import in_short
from models.chat import encode_prompt
from models.checkpoint import Checkpoint, load_tokenizer
from models.engine import Progress
from models.journal import Journal, Reply, Request
from models.teacher import Keep, Teacher, server_teacher
from models.teachers.budget import Allowance
from models.teachers.http import attempt, client_of
from models.teachers.scheduler import Again, ask_all
from models.teachers.vllm_server import VllmServer
from models.teachers.weigh import COMPLETIONS


def vllm_teacher(config: VllmTeacher, checkpoint: Checkpoint, journal: Journal, log: Path) -> Teacher:
    """The server starts when something is missing in the journal. Raises PlumblineError if it does not."""
    server = VllmServer(checkpoint.path, config, log)

    def ask(missing: list[Request], keep: Keep, _: Progress) -> None:
        server.ready()
        tokenizer = load_tokenizer(checkpoint.path)
        prompts = {r.key: encode_prompt(tokenizer, r.messages) for r in missing}
        fits = [r for r in missing if len(prompts[r.key]) < config.max_model_len]
        keep((r, Reply("", "too_long", 0, 0)) for r in missing if len(prompts[r.key]) >= config.max_model_len)
        asyncio.run(_ask(config, server, log, fits, prompts, Allowance(None, None, journal), keep))

    return server_teacher(checkpoint.hash, journal, ask, COMPLETIONS, server.close)


async def _ask(
    config: VllmTeacher,
    server: VllmServer,
    log: Path,
    requests: list[Request],
    prompts: dict[str, list[int]],
    allowance: Allowance,
    keep: Keep,
) -> None:
    name = "the teacher's own vLLM server"
    # past any proxy: loopback is nobody else's business
    async with client_of(f"{server.url}/v1", server.key, config.timeout, proxies=False) as client:

        async def once(request: Request) -> Reply | Again:
            prompt = prompts[request.key]
            room = config.max_model_len - len(prompt)
            sampling = request.sampling | {"max_tokens": min(request.sampling["max_tokens"], room)}
            return await attempt(
                lambda: client.completions.with_streaming_response.create(
                    model="teacher", prompt=prompt, seed=request.server_seed, **sampling
                ),
                name,
                lambda error: f"{name} failed ({in_short(error)}): see {log}, then resume the run",
                config.timeout,
            )

        await ask_all(requests, once, config.concurrency, allowance, keep)
