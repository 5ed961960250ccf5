"""Teachers: whoever revises and judges. One plain value for all of them, which reads the journal before it asks anybody.

Who can be one: a checkpoint in the run's own engine (here), an OpenAI-compatible server, a vLLM server that the run starts, or a
provider's batch (models/teachers/).
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from models.chat import Message, encode_answer, encode_prompt
from models.checkpoint import Checkpoint
from models.engine import Engine, Progress, Sampling
from models.gpus import visible
from models.journal import Journal, Reply, Request, requests_of
from models.journal_claims import claimed

Conversation = Sequence[Message]
Complete = Callable[[Sequence[Conversation], Sampling, int, Progress], list[Reply]]
Keep = Callable[[Iterable[tuple[Request, Reply]]], None]
_AT_ONCE = 512  # local requests a GPU between two writes to the journal: more than a batch, little enough to do again
_EVERY = 0.5  # seconds between two looks at what somebody else is asking


def _nothing() -> None:
    """Most teachers hold nothing that must be given back."""


def _nobody(_keys: Sequence[str], _stage: Path) -> set[str]:
    """Nobody pays for a call that is in no journal."""
    return set()


@dataclass(frozen=True)
class Teacher:
    """`complete(conversations, sampling, seed, progress)` gives one reply each, in order.

    `score(conversations, answers)` gives each answer's log-probability in nats, its end-of-sequence token included, and minus
    infinity where it does not fit beside its prompt; servers cannot, so theirs is None. `choose(conversations, choices, sampling,
    seed, progress)` is `complete` with every reply one of `choices`, where the engine can constrain it. `peek` is the `complete`
    of servers for replies of one token, whose text is then the JSON of that token's likeliest candidates and their
    log-probabilities (models/teachers/weigh.py). `close` ends what the teacher started; it can be asked again afterwards. `bill`
    is its journal's: which calls a stage answers for.
    """

    name: str  # the server's model id, or the checkpoint's hash
    complete: Complete
    score: Callable[[Sequence[Conversation], Sequence[str]], list[float]] | None = None
    close: Callable[[], None] = _nothing
    choose: Callable[[Sequence[Conversation], Sequence[str], Sampling, int, Progress], list[Reply]] | None = None
    peek: Complete | None = None
    bill: Callable[[Sequence[str], Path], set[str]] = _nobody


def metered(teacher: Teacher) -> tuple[Teacher, Callable[[Path], dict[str, Any]]]:
    """The same teacher, and a function that says what the stage in a folder has asked it since and what that cost.

    A stage puts the answer into its facts as "teacher": `calls`; `cached`, those of them that came from the journal, since
    another run, an earlier stage or this one had paid for them; and over the calls that this stage paid for, in whichever of the
    run's starts, `input_tokens`, `output_tokens` (None where a server does not count) and `cost` (None without a price).
    """
    seen: list[Reply] = []

    def counted(ask: Any) -> Any:
        def asked(*arguments: Any) -> list[Reply]:
            replies: list[Reply] = ask(*arguments)
            seen.extend(replies)
            return replies

        return asked if ask else None

    def usage(stage: Path) -> dict[str, Any]:
        replies = {reply.key: reply for reply in seen}
        paid = [replies[key] for key in sorted(teacher.bill(list(replies), stage))]
        priced = any(reply.cost is not None for reply in seen)
        return {
            "calls": len(seen),
            "cached": len(seen) - len(paid),
            "input_tokens": _total([reply.input_tokens for reply in paid]),
            "output_tokens": _total([reply.output_tokens for reply in paid]),
            "cost": _total([reply.cost for reply in paid]) if paid or priced else None,
        }

    asking = {name: counted(getattr(teacher, name)) for name in ("complete", "choose", "peek")}
    return replace(teacher, **asking), usage


def journaled(
    name: str, journal: Journal, ask: Callable[[list[Request], Keep, Progress], None], every: int | None = None, **settings: Any
) -> Complete:
    """A teacher's `complete`: replies come from the journal, and `ask(missing, keep, progress)` gets those that are not there.

    It must `keep` each reply as soon as it has it. `progress` is for whoever can say more between two calls of `keep`: the number
    of requests done since the last one. At most `every` requests are handed to `ask` at once. What another process or thread is
    asking right now is waited for. `settings` are added to the sampling of every request.
    """

    def complete(conversations: Sequence[Conversation], sampling: Sampling, seed: int, progress: Progress) -> list[Reply]:
        requests = requests_of(name, conversations, asdict(sampling) | settings, seed)
        replies = journal.lookup([r.key for r in requests])
        missing = [r for r in requests if r.key not in replies]
        progress(len(replies), len(requests))

        def keep(fresh: Iterable[tuple[Request, Reply]]) -> None:
            fresh = list(fresh)
            journal.store(fresh)
            replies.update(journal.lookup([request.key for request, _ in fresh]))
            progress(len(replies), len(requests))

        while missing:
            with claimed(journal, missing, every or len(missing)) as mine:
                if mine:
                    ask(mine, keep, lambda done, _: progress(len(replies) + done, len(requests)))
            asked = {r.key for r in mine}
            if theirs := journal.lookup([r.key for r in missing if r.key not in asked]):
                replies.update(theirs)
                progress(len(replies), len(requests))
            missing = [r for r in missing if r.key not in asked and r.key not in theirs]
            if missing and not mine:
                time.sleep(_EVERY)
        return [replies[r.key] for r in requests]

    return complete


def server_teacher(
    name: str,
    journal: Journal,
    ask: Callable[[list[Request], Keep, Progress], None],
    weights: dict[str, Any],
    close: Callable[[], None] = _nothing,
) -> Teacher:
    """A teacher outside the run's engine; `weights` are the settings by which it tells log-probabilities (teachers/weigh.py)."""
    peek = journaled(name, journal, ask, **weights)
    return Teacher(name, journaled(name, journal, ask), close=close, peek=peek, bill=journal.bill)


def local_teacher(running: Callable[[], Engine], checkpoint: Checkpoint, journal: Journal) -> Teacher:
    """The teacher whose weights are `checkpoint`, swapped into the engine only when something has to be asked.

    `running` gives the engine and is not called before that either: it may have to be started.
    """
    at_once = _AT_ONCE * max(1, len(visible()))

    def ask(missing: list[Request], keep: Keep, progress: Progress) -> None:
        engine = running()
        engine.use(checkpoint)
        prompts = [encode_prompt(engine.tokenizer, r.messages) for r in missing]
        fits = [i for i, prompt in enumerate(prompts) if len(prompt) < engine.max_model_len]
        sampling = dict(missing[0].sampling)
        choices = sampling.pop("choices", ())
        made = engine.generate(
            [prompts[i] for i in fits],
            Sampling(**sampling),
            [missing[i].server_seed for i in fits],
            progress,
            choices,
        )
        answered = {i: Reply(c.text, c.finish_reason, len(prompts[i]), len(c.token_ids)) for i, c in zip(fits, made, strict=True)}
        keep((r, answered.get(i, Reply("", "too_long", 0, 0))) for i, r in enumerate(missing))

    def score(conversations: Sequence[Conversation], answers: Sequence[str]) -> list[float]:
        engine = running()
        engine.use(checkpoint)
        prompts = [encode_prompt(engine.tokenizer, c) for c in conversations]
        ids = [encode_answer(engine.tokenizer, a) for a in answers]
        fits = [i for i, prompt in enumerate(prompts) if len(prompt) + len(ids[i]) < engine.max_model_len]
        found = dict(zip(fits, engine.score([prompts[i] for i in fits], [ids[i] for i in fits]), strict=True))
        return [found.get(i, -math.inf) for i in range(len(ids))]

    def choose(
        conversations: Sequence[Conversation], choices: Sequence[str], sampling: Sampling, seed: int, progress: Progress
    ) -> list[Reply]:
        chosen = journaled(checkpoint.hash, journal, ask, at_once, choices=list(choices))
        return chosen(conversations, sampling, seed, progress)

    return Teacher(checkpoint.hash, journaled(checkpoint.hash, journal, ask, at_once), score, choose=choose, bill=journal.bill)


def _total(values: Sequence[Any]) -> Any:
    return None if None in values else sum(values)
