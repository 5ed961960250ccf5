"""Prompts: the next unseen slice of a prompt file."""

from pathlib import Path
from typing import Any

from data_contracts.config_pairs import PromptsConfig
from data_contracts.errors import PlumblineError
from data_contracts.json_text import json_lines
from data_contracts.store import Dataset, build, digest, open_dataset
from models.chat import ROLES, Message, user
from tasks.run_folder import rounds_with


def read_prompts(path: Path) -> list[tuple[str, list[Message]]]:
    """(id, conversation) of every line of a plain or gzip file. A line holds `prompt` (text or messages) and optionally `id`.

    Raises PlumblineError naming the line for anything else, and for an id that occurs twice.
    """
    found: dict[str, list[Message]] = {}
    for number, row in json_lines(path, "prompts"):
        if not isinstance(row, dict) or "prompt" not in row:
            has = f" (it has {', '.join(map(repr, list(row)[:8]))})" if isinstance(row, dict) and row else ""
            raise PlumblineError(
                f"{path}:{number} has no key 'prompt'{has}: prompts are JSON lines with that key, a text or a list of messages: "
                "rename your key"
            )
        prompt_id = str(number if row.get("id") is None else row["id"])
        if prompt_id in found:
            raise PlumblineError(f"{path}:{number}: the id {prompt_id!r} occurs twice: ids must be unique")
        found[prompt_id] = read_conversation(row["prompt"], f"{path}:{number}")
    return list(found.items())


def check_enough(path: Path, per_round: int, rounds: int) -> None:
    """Raises PlumblineError if the file cannot serve that many rounds without showing a prompt twice."""
    have = len(read_prompts(path))
    if have < per_round * rounds:
        raise PlumblineError(
            f"{path} holds {have} prompts, but {rounds} rounds of prompts.per_round {per_round} need {per_round * rounds}: "
            "lower one of them or add prompts"
        )


def check_appended(run: Path, config: PromptsConfig) -> None:
    """Raises PlumblineError if the prompts that a round of `run` took are not where they were: new ones belong at the end."""
    for number in rounds_with(run, "prompts/manifest.json"):
        if open_dataset(run / f"round-{number}" / "prompts").records() != _slice(config, number):
            raise PlumblineError(
                f"{config.file} was changed where round {number} of {run} took its prompts: put these lines back and append new "
                "prompts at the end, or use another --run-dir"
            )


def take_prompts(folder: Path, config: PromptsConfig, round_number: int) -> Dataset:
    """The round's prompts: round 1 takes the first `per_round` lines, round 2 the next, none twice."""
    rows = _slice(config, round_number)
    # keyed by what is taken, not by the whole file: that may grow between rounds
    slice_ = {"prompts": digest(rows), "per_round": config.per_round, "round": round_number}
    return build(folder, "prompts", slice_, lambda _work: (rows, {"prompts": len(rows)}))


def _slice(config: PromptsConfig, round_number: int) -> list[dict[str, Any]]:
    begin = (round_number - 1) * config.per_round
    return [{"prompt_id": i, "prompt": m} for i, m in read_prompts(Path(config.file))[begin : begin + config.per_round]]


def read_conversation(prompt: Any, where: str) -> list[Message]:
    """A prompt as a file has it, text or messages. Raises PlumblineError for anything else, or if its end is not the user's."""
    messages = read_messages(prompt, where)
    if messages[-1]["role"] != "user" or not messages[-1]["content"].strip():
        raise PlumblineError(f"{where}: the conversation must end with a non-empty user message")
    return messages


def read_messages(prompt: Any, where: str) -> list[Message]:
    messages = user(prompt) if isinstance(prompt, str) else prompt
    is_list = isinstance(messages, list) and bool(messages) and all(isinstance(m, dict) for m in messages)
    if not is_list or any(not isinstance(m.get("role"), str) or not isinstance(m.get("content"), str) for m in messages):
        raise PlumblineError(f"{where}: prompt must be text or a list of messages with role and content")
    if strange := [m["role"] for m in messages if m["role"] not in ROLES]:
        raise PlumblineError(f"{where}: a message has the role {strange[0][:40]!r}, and roles are {', '.join(ROLES)}: correct it")
    return [Message(role=m["role"], content=m["content"]) for m in messages]
