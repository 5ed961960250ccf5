"""Prompts: the next unseen slice of a prompt file."""

import json
from pathlib import Path
from typing import Any

from data_contracts.config_pairs import PromptsConfig
from data_contracts.errors import PlumblineError
from data_contracts.store import Dataset, build, file_digest
from models.chat import Message


def read_prompts(path: Path) -> list[tuple[str, list[Message]]]:
    """(id, conversation) of every line. A line holds `prompt` (text or messages) and optionally `id`.

    Raises PlumblineError naming the line for anything else, and for an id that occurs twice.
    """
    found: dict[str, list[Message]] = {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PlumblineError(f"{path} cannot be read as UTF-8 text ({error}): prompts are JSON lines") from None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        row = _parse(line, f"{path}:{number}")
        prompt_id = str(row.get("id", number))
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


def take_prompts(folder: Path, config: PromptsConfig, round_number: int) -> Dataset:
    """The round's prompts: round 1 takes the first `per_round` lines, round 2 the next, none twice."""
    path = Path(config.file)

    def make(_work: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        begin = (round_number - 1) * config.per_round
        rows = read_prompts(path)[begin : begin + config.per_round]
        return [{"prompt_id": i, "prompt": messages} for i, messages in rows], {"prompts": len(rows)}

    slice_ = {"file": file_digest(path), "per_round": config.per_round, "round": round_number}
    return build(folder, "prompts", slice_, make)


def _parse(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise PlumblineError(f"{where} is not JSON ({error.msg}): prompts are JSON lines with a key `prompt`") from None
    if not isinstance(row, dict) or "prompt" not in row:
        raise PlumblineError(f"{where} has no key `prompt`")
    return row


def read_conversation(prompt: Any, where: str) -> list[Message]:
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    is_list = isinstance(messages, list) and bool(messages) and all(isinstance(m, dict) for m in messages)
    if not is_list or any(not isinstance(m.get("role"), str) or not isinstance(m.get("content"), str) for m in messages):
        raise PlumblineError(f"{where}: prompt must be text or a list of messages with role and content")
    if messages[-1]["role"] != "user" or not messages[-1]["content"].strip():
        raise PlumblineError(f"{where}: the conversation must end with a user message that is not empty")
    return [Message(role=m["role"], content=m["content"]) for m in messages]
