"""Sample others: models that are not the policy answer its prompts, or have answered them already.

Their answers carry their own token ids where they share the policy's tokenizer; else their text is encoded for the policy.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.config_pairs import FileSource, SampleConfig
from data_contracts.errors import PlumblineError
from data_contracts.json_text import json_lines
from data_contracts.store import Dataset, Row, Rows, build
from models.chat import Message, encode_answer
from models.checkpoint import Checkpoint, end_tokens, load_tokenizer
from models.engine import Engine, Progress, Sampling, quiet
from models.teacher import Teacher, metered
from tasks.prompts import read_conversation
from tasks.sample import encode_row, request_seed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Answer = tuple[str, str, list[int] | None]  # text, finish reason, the sampler's own ids where they are the policy's


@dataclass(frozen=True)
class Writer:
    """Who answers; `name` goes into each row's column `policy`: a checkpoint's hash, a teacher's name, a file's digest."""

    name: str
    temperature: float
    answer: "Callable[[Rows, Sampling, PreTrainedTokenizerFast, Progress], list[Answer | None]]"
    usage: Callable[[Path], Row] | None = None  # of a teacher, since it was made: models.teacher.metered


def sample_others(
    folder: Path,
    prompts: Dataset,
    config: SampleConfig,
    writers: Sequence[Writer],
    policy: Checkpoint,
    seed: int,
    progress: Progress = quiet,
) -> Dataset:
    """The "samples" of `writers`, one a prompt and writer; `index` is the writer's place. `prompt_ids` are the policy's.

    `prompts` may be any dataset whose rows have prompts; one that occurs again is asked once.

    Facts: `samples`, `missing` answers by writer's place and reason, and what a teacher among them cost (`teacher_<place>`).
    """

    def make(_work: Path) -> tuple[Rows, dict[str, Any]]:
        tokenizer, rows, missing = load_tokenizer(policy.path), list[Row](), Counter[str]()
        asked = list({row["prompt_id"]: row for row in prompts.records()}.values())
        for row in asked:
            row["prompt_ids"] = encode_row(tokenizer, row)
        for place, writer in enumerate(writers):
            mine = [row | {"sample_id": f"{row['prompt_id']}/other-{place}", "index": place} for row in asked]
            mine = [row | {"seed": request_seed(seed, row["sample_id"])} for row in mine]
            answers = writer.answer(
                mine, Sampling(writer.temperature, config.top_p, config.max_tokens), tokenizer, _part(progress, place, writers)
            )
            for row, answer in zip(mine, answers, strict=True):
                if answer is None or answer[1] not in ("stop", "length"):
                    missing[f"{place}: {answer[1] if answer else 'no answer'}"] += 1
                else:
                    rows.append(row | _columns(answer, tokenizer) | {"policy": writer.name})
        used = {f"teacher_{i}": writer.usage(folder / str(i)) for i, writer in enumerate(writers) if writer.usage}
        return rows, {"samples": len(rows), "missing": dict(missing)} | used

    names = [[w.name, w.temperature] for w in writers]
    slice_ = {"top_p": config.top_p, "max_tokens": config.max_tokens, "seed": seed, "writers": names}
    return build(folder, "samples", slice_, make, [prompts], {"policy": policy.hash})


def _columns(answer: Answer, tokenizer: "PreTrainedTokenizerFast") -> Row:
    text, finish, ids = answer
    stopped = finish == "stop"
    if ids is None:
        ids = encode_answer(tokenizer, text)[: None if stopped else -1]
    return {"text": text, "token_ids": ids, "finish_reason": finish, "stopped": stopped}


def checkpoint_writer(checkpoint: Checkpoint, temperature: float, engine: Engine) -> Writer:
    """A checkpoint on the run's own engine, asked in its own template."""

    def answer(rows: Rows, sampling: Sampling, tokenizer: "PreTrainedTokenizerFast", progress: Progress) -> list[Answer | None]:
        engine.use(checkpoint)
        own = engine.tokenizer
        ends, known = end_tokens(own), end_tokens(tokenizer)
        shared = own.get_vocab() == tokenizer.get_vocab() and ends[0] == known[0] and set(ends) <= set(known)
        prompts = [encode_row(own, row, f"{checkpoint.path.name}'s") for row in rows]
        completions = engine.generate(prompts, sampling, [row["seed"] for row in rows], progress)
        return [(c.text, c.finish_reason, c.token_ids if shared else None) for c in completions]

    return Writer(checkpoint.hash, temperature, answer)


def teacher_writer(teacher: Teacher, temperature: float, seed: int) -> Writer:
    """The teacher answers as itself; its replies are in the journal like all others."""

    asked, usage = metered(teacher)

    def answer(rows: Rows, sampling: Sampling, _tokenizer: "PreTrainedTokenizerFast", progress: Progress) -> list[Answer | None]:
        replies = asked.complete([row["prompt"] for row in rows], sampling, seed, progress)
        return [(r.text, r.finish_reason, None) for r in replies]

    return Writer(teacher.name, temperature, answer, usage)


def file_writer(path: Path, prompt: str, answer: str, digest: str) -> Writer:
    """Whoever wrote the answers in a file of JSON lines; each prompt's first answer counts."""

    def find(rows: Rows, _sampling: Sampling, _tokenizer: "PreTrainedTokenizerFast", progress: Progress) -> list[Answer | None]:
        known: dict[str, str] = {}
        for _, conversation, text in recorded_lines(path, prompt, answer):
            known.setdefault(conversation, text)
        found = [known.get(json.dumps(row["prompt"])) for row in rows]
        progress(len(rows), len(rows))
        return [None if text is None else (text, "stop", None) for text in found]

    return Writer(f"{answer} to {prompt} in file {digest}", 0.0, find)


def recorded_lines(path: Path, prompt: str, answer: str) -> Iterator[tuple[int, str, str]]:
    """(number, conversation, answer) of each line that holds both.

    Raises PlumblineError naming a line that is not JSON, or no text.
    """
    for number, row in json_lines(path, "recorded answers"):
        text = look_up(row, answer)
        if isinstance(text, str):
            yield number, json.dumps(read_conversation(look_up(row, prompt), f"{path}:{number}")), text


def check_answers(source: FileSource, prompts: Sequence[Sequence[Message]]) -> None:
    """Raises PlumblineError if the file answers none of `prompts`, or cannot be read."""
    asked = {json.dumps(list(prompt)) for prompt in prompts}
    if not any(conversation in asked for _, conversation, _ in recorded_lines(Path(source.file), source.prompt, source.answer)):
        raise PlumblineError(
            f"{source.file}, named by method, holds under {source.answer!r} no answer to any of the run's {len(asked)} prompts "
            f"(under {source.prompt!r}): correct its keys prompt and answer, or name another file"
        )


def recorded_answers(path: Path, prompt: str, answer: str) -> dict[str, str]:
    """The first answer in a file of JSON lines to each prompt that is one user's message."""
    found: dict[str, str] = {}
    for _, conversation, text in recorded_lines(path, prompt, answer):
        messages = json.loads(conversation)
        if len(messages) == 1:
            found.setdefault(messages[0]["content"], text)
    return found


def look_up(row: Any, key: str) -> Any:
    """What is under `key`, a dot going one deeper; None where there is nothing."""
    for name in key.split("."):
        row = row.get(name) if isinstance(row, dict) else None
    return row


def _part(progress: Progress, place: int, writers: Sequence[Writer]) -> Progress:
    return lambda done, total: progress(place * total + done, len(writers) * total)
