"""Human preferences as people store them, read into one shape: a shared conversation and two answers to its last turn, or one.

Understood are `chosen`/`rejected` without a prompt (two whole conversations that differ in the last answer only) and with one
(`chosen` and `rejected` are the answers, or whole conversations again), and in their place one `completion` with a `label`, true
or false (TRL's unpaired preference format, for KTO). A conversation is a list of role/content messages, or a transcript as in
Anthropic's HH data: "\\n\\nHuman: …\\n\\nAssistant: …".
"""

import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_contracts.errors import PlumblineError
from data_contracts.json_text import SURROGATE, is_number, lines_of, read_json
from models.chat import ROLES, Message, user

_NUMBERS = ("chosen_score", "rejected_score", "win_probability", "uncertainty", "weight")
# Optional keys of a line, and the column of the pairs each fills.
EXTRAS = {name: name for name in _NUMBERS} | {
    "rationale": "reasoning",
    "gold": "gold_ids",
    "base": "base_ids",
    "changed_prompt": "reprompt_ids",
    "rejected_prompt": "rejected_prompt_ids",
}
_ALSO = {"chosen_score": "score_chosen", "rejected_score": "score_rejected"}  # as UltraFeedback's binarised copy names them
_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):[ \t]?")
_ROLE = {"Human": "user", "Assistant": "assistant"}


@dataclass(frozen=True)
class Preference:
    """Without one of its answers it is a label: the other one is good, or bad."""

    prompt: list[Message]
    chosen: str | None
    rejected: str | None


@dataclass(frozen=True)
class Unreadable:
    """Why a row is no preference: one of the names in `REASONS`."""

    reason: str


REASONS = {
    "not_utf8": "the line is not UTF-8 text",
    "not_json": "the line is not JSON",
    "not_an_object": "the line is JSON, but no object with keys",
    "missing_field": "chosen or rejected is missing, or a completion's label",
    "no_label": "the label of a completion is neither true nor false (nor 1 or 0)",
    "not_text": "a field is neither text nor a list of role/content messages, or holds half a surrogate pair",
    "not_a_number": "a score, weight, probability or uncertainty is no number, or lies where none can",
    "unknown_role": "a message has a role other than system, user and assistant",
    "not_a_transcript": "there is no prompt, and chosen or rejected does not begin with a Human: or Assistant: turn",
    "no_assistant_turn": "a conversation does not end with an answer",
    "empty_conversation": "there is no turn before the answers",
    "prompts_differ": "chosen and rejected answer different conversations",
    "no_probability": "the probability that is asked for is no number from 0 to 1",
    "refused_by_template": "the policy's chat template does not accept the conversation",
}


def first_object(path: Path) -> dict[str, Any]:
    """The first line of a JSON lines file, plain or gzip, that is an object; empty where there is none."""
    with suppress(PlumblineError):  # the import says what is wrong with it
        for _, line in lines_of(path):
            with suppress(ValueError):
                row = read_json(line.decode("utf-8-sig"))
                if isinstance(row, dict):
                    return row
    return {}


def extras_in(row: dict[str, Any]) -> set[str]:
    """The keys of EXTRAS that a line holds, under our name or another's."""
    return {key for key in EXTRAS if key in row or _ALSO.get(key) in row}


def is_labelled(row: dict[str, Any]) -> bool:
    """Whether a line holds a completion with its label, and no two answers."""
    both = row.get("chosen") is not None or row.get("rejected") is not None
    return not both and row.get("completion") is not None and row.get("label") is not None


def read_preference(row: Any) -> Preference | Unreadable:
    """The preference in a parsed JSON line, or why there is none."""
    if not isinstance(row, dict):
        return Unreadable("not_an_object")
    given = _prompt(row["prompt"]) if row.get("prompt") is not None else None
    if is_labelled(row):
        return given if isinstance(given, Unreadable) else _labelled(row, given)
    if row.get("chosen") is None or row.get("rejected") is None:
        return Unreadable("missing_field")
    if isinstance(given, Unreadable):
        return given
    chosen, rejected = _side(row["chosen"], given), _side(row["rejected"], given)
    for side in (chosen, rejected):
        if isinstance(side, Unreadable):
            return side
    assert not isinstance(chosen, Unreadable) and not isinstance(rejected, Unreadable)
    if chosen[:-1] != rejected[:-1]:
        return Unreadable("prompts_differ")
    if len(chosen) == 1:
        return Unreadable("empty_conversation")
    return Preference(chosen[:-1], chosen[-1]["content"], rejected[-1]["content"])


def _labelled(row: dict[str, Any], given: list[Message] | None) -> Preference | Unreadable:
    answered = _side(row["completion"], given)
    if isinstance(answered, Unreadable):
        return answered
    if row["label"] not in (True, False):
        return Unreadable("no_label")
    if len(answered) == 1:
        return Unreadable("empty_conversation")
    text = answered[-1]["content"]
    return Preference(answered[:-1], text if row["label"] else None, None if row["label"] else text)


def read_extras(row: dict[str, Any]) -> dict[str, Any] | Unreadable:
    """What a line says beside the preference, by the keys of EXTRAS: finite numbers (a probability in 0..1, a weight and a doubt
    not below 0), texts, and prompts as messages. Null is not there."""
    found: dict[str, Any] = {}
    for key in EXTRAS:
        value = row.get(key, row.get(_ALSO.get(key, key)))
        if value is None:
            continue
        if key in _NUMBERS:
            if not is_number(value) or not abs(value) <= sys.float_info.max:
                return Unreadable("not_a_number")
            if (key in ("win_probability", "uncertainty", "weight") and value < 0) or (key == "win_probability" and value > 1):
                return Unreadable("not_a_number")
            found[key] = float(value)
        elif key.endswith("prompt"):
            messages = _prompt(value)
            if isinstance(messages, Unreadable):
                return messages
            found[key] = messages
        elif isinstance(value, str) and value.strip() and not SURROGATE.search(value):
            found[key] = value.strip()
        else:
            return Unreadable("not_text")
    return found


def parse_transcript(text: str) -> list[Message] | None:
    """The turns of "\\n\\nHuman: …\\n\\nAssistant: …", each without outer white space; None if the text begins otherwise."""
    if not _TURN.match(text):
        return None
    _, *parts = _TURN.split(text)
    return [Message(role=_ROLE[name], content=said.strip()) for name, said in zip(parts[::2], parts[1::2], strict=True)]


def _prompt(value: Any) -> list[Message] | Unreadable:
    if isinstance(value, str):
        if SURROGATE.search(value):
            return Unreadable("not_text")
        messages = parse_transcript(value) or user(value)
    else:
        read = _messages(value)
        if isinstance(read, Unreadable):
            return read
        messages = read
    # "\n\nHuman: …\n\nAssistant:" leaves the answer's turn open
    open_turn = bool(messages) and messages[-1]["role"] == "assistant" and not messages[-1]["content"]
    return messages[:-1] if open_turn else messages


def _side(value: Any, given: list[Message] | None) -> list[Message] | Unreadable:
    """The conversation that ends with this side's answer; `given` is the prompt the row names, if it names one."""
    if isinstance(value, str):
        if SURROGATE.search(value):
            return Unreadable("not_text")
        conversation = parse_transcript(value)
        if conversation is None and given is None:
            return Unreadable("not_a_transcript")
        messages = conversation or [Message(role="assistant", content=value.strip())]
    else:
        read = _messages(value)
        if isinstance(read, Unreadable):
            return read
        messages = read
    if not messages or messages[-1]["role"] != "assistant":
        return Unreadable("no_assistant_turn")
    if given is None:
        return messages
    # a whole conversation must repeat the prompt; it may say more before it, such as a system message
    before = messages[:-1]
    if before and before[len(before) - len(given) :] != given:
        return Unreadable("prompts_differ")
    return [*(before or given), messages[-1]]


def _messages(value: Any) -> list[Message] | Unreadable:
    if not isinstance(value, list):
        return Unreadable("not_text")
    messages = []
    for message in value:
        if not isinstance(message, dict):
            return Unreadable("not_text")
        role, content = message.get("role"), message.get("content")
        if not isinstance(content, str) or SURROGATE.search(content):
            return Unreadable("not_text")
        if role not in ROLES:
            return Unreadable("unknown_role")
        messages.append(Message(role=role, content=content))
    return messages
