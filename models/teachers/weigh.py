"""How likely a teacher is to reply with each of a few words: from the log-probabilities of whole replies, or of first tokens."""

import json
import math
import sys
from collections.abc import Sequence
from typing import Any

from data_contracts.errors import PlumblineError
from data_contracts.json_text import read_json
from models.engine import Progress, Sampling
from models.teacher import Conversation, Teacher

CHAT = {"logprobs": True, "top_logprobs": 20}  # what a chat server is asked for, and the most that servers give
COMPLETIONS = {"logprobs": 20}  # the same for the older interface


def weigh(
    teacher: Teacher, conversations: Sequence[Conversation], choices: Sequence[str], progress: Progress
) -> list[list[float]]:
    """log p of each of `choices` as the reply, in nats; minus infinity where a server did not name it among its candidates.

    A server tells the first token only, so each choice has to be one token: a letter, a small number, yes or no.
    Raises PlumblineError for a teacher that tells no log-probabilities.
    """
    if teacher.score is not None:
        values = teacher.score([c for c in conversations for _ in choices], [*choices] * len(conversations))
        progress(len(conversations), len(conversations))
        return [list(values[i : i + len(choices)]) for i in range(0, len(values), len(choices))]
    if teacher.peek is None:
        raise PlumblineError(f"judge.verdict probability needs log-probabilities, and {teacher.name} gives none: use text")
    replies = teacher.peek(conversations, Sampling(0.0, 1.0, 1), 0, progress)
    return [read_weights(reply.text, choices) for reply in replies]


def read_weights(text: str, choices: Sequence[str]) -> list[float]:
    """From the JSON of a first token's candidates. Spellings that differ in case or white space are one choice."""
    try:
        candidates = read_json(text)
    except ValueError:
        candidates = {}
    mass = dict.fromkeys((choice.casefold() for choice in choices), 0.0)
    for token, logp in candidates.items() if isinstance(candidates, dict) else ():
        if (word := token.strip().casefold()) in mass and isinstance(logp, int | float) and abs(logp) <= sys.float_info.max:
            mass[word] += math.exp(min(0.0, logp))
    return [math.log(m) if (m := mass[choice.casefold()]) > 0 else -math.inf for choice in choices]


def candidates_in(choice: dict[str, Any]) -> str | None:
    """The JSON that `read_weights` reads, from a server's reply of a single token with log-probabilities; None for any other."""
    told = choice.get("logprobs")
    told = told if isinstance(told, dict) else {}
    content, older = told.get("content"), told.get("top_logprobs")
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict):
        rows = content[0].get("top_logprobs")
        found = [(r.get("token"), r.get("logprob")) for r in rows if isinstance(r, dict)] if isinstance(rows, list) else []
    elif isinstance(older, list) and len(older) == 1 and isinstance(older[0], dict):
        found = list(older[0].items())
    else:
        return None
    known = {t: float(p) for t, p in found if isinstance(t, str) and isinstance(p, int | float) and abs(p) <= sys.float_info.max}
    return json.dumps(known, ensure_ascii=True) if known else None
