"""Put prompts to a judge and get back text, one of a few words, or a probability for each of them."""

import math
from collections.abc import Sequence

from data_contracts.config_judge import JudgeConfig
from data_contracts.errors import PlumblineError
from models.chat import Message, user
from models.engine import Progress, Sampling
from models.parse_verdict import without_thoughts
from models.prompts import render
from models.teacher import Teacher
from models.teachers.weigh import weigh


def ask_text(prompts: Sequence[str], config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress) -> list[str]:
    """Whole replies. Equal prompts are votes of their own."""
    replies = teacher.complete([user(p) for p in prompts], _sampling(config), seed, progress)
    return [r.text for r in replies]


def ask_bare(
    prompts: Sequence[str], choices: Sequence[str], config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress
) -> list[str]:
    """Replies that are one of `choices`, by constrained decoding; empty where the prompt was too long.

    Raises PlumblineError for a teacher that cannot constrain.
    """
    if teacher.choose is None:
        raise PlumblineError(f"judge.verdict choice needs a local teacher, and {teacher.name} is none: use text or probability")
    conversations = _reasoned(prompts, choices, config, teacher, seed, progress)
    return [r.text for r in teacher.choose(conversations, choices, _sampling(config), seed, progress)]


def weigh_bare(
    prompts: Sequence[str], choices: Sequence[str], config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress
) -> list[list[float] | None]:
    """Of each prompt, the probability of every one of `choices` among them; they add up to 1.

    None where the reply says nothing of any: no choice was among a server's candidates, or the prompt was too long.

    Raises PlumblineError for a teacher that gives no log-probabilities.
    """
    conversations = _reasoned(prompts, choices, config, teacher, seed, progress)
    return [softmax(row) for row in weigh(teacher, conversations, choices, progress)]


def softmax(logps: Sequence[float]) -> list[float] | None:
    top = max(logps)
    if top == -math.inf:
        return None
    weights = [math.exp(v - top) for v in logps]
    return [w / sum(weights) for w in weights]


def _reasoned(
    prompts: Sequence[str], choices: Sequence[str], config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress
) -> list[list[Message]]:
    """The conversations at whose end the bare verdict is due: with `reasoning`, the judge's reasons stand before it."""
    due = render("verdict-1", choices=" / ".join(choices))
    if not config.reasoning:
        return [user(f"{p}\n\n{due}") for p in prompts]
    asked = [f"{p}\n\n{render('reasons-1')}" for p in prompts]
    replies = ask_text(asked, config, teacher, seed, progress)
    return [
        [*user(p), Message(role="assistant", content=without_thoughts(reply)), *user(due)]
        for p, reply in zip(asked, replies, strict=True)
    ]


def _sampling(config: JudgeConfig) -> Sampling:
    return Sampling(config.temperature, 1.0, config.max_tokens)
