"""Import: a preference file that somebody already has becomes pairs, and a part of its prompts is held out.

The file is JSON lines, plain or gzip, read line by line. A line that cannot be read does not stop the import: it goes to
`unreadable.jsonl` with its number and the name of the reason.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from data_contracts.config import PairsFileConfig
from data_contracts.config_pairs import Recorded
from data_contracts.errors import PlumblineError
from data_contracts.json_text import lines_of, read_json
from data_contracts.store import Dataset, Row, Rows, build, file_digest
from models.chat import Message, encode_answer, encode_prompt, opening
from models.checkpoint import Checkpoint, load_tokenizer
from models.engine import Progress, quiet
from models.transcripts import EXTRAS, REASONS, Preference, Unreadable, first_object, read_extras, read_preference
from tasks.comparison import margin
from tasks.sample_others import look_up

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

T = TypeVar("T")
_SHAPES = (
    "JSON lines with chosen/rejected transcripts, or with prompt, chosen and rejected (or prompt, completion and label) as texts "
    "or messages"
)


def import_pairs(
    folder: Path,
    config: PairsFileConfig,
    policy: Checkpoint,
    progress: Progress = quiet,
) -> Dataset:
    """The pairs in `config.file`, encoded by the policy's tokenizer; `pair_id` is the line number, progress counts bytes.

    Both answers count as complete, since somebody wrote them to their end.
    Facts: `lines`, `pairs`, `unreadable` (reason → lines).

    Raises PlumblineError if the file is damaged or no line of it is a preference.
    """
    path = Path(config.file)

    def make(work: Path) -> tuple[Rows, dict[str, Any]]:
        tokenizer = load_tokenizer(policy.path)

        def read(told: Any, number: int) -> Row | Unreadable:
            preference = read_named(told, number, config)
            return preference if isinstance(preference, Unreadable) else row_of(preference, number, tokenizer, told)

        rows, facts = read_lines(lines_of(path, progress), read, work)
        if not rows:
            raise _nothing_in(path, facts)
        return rows, facts

    slice_ = {"file": file_digest(path), "keys": [config.prompt, config.chosen, config.rejected]}
    return build(folder, "pairs", slice_, make, models={"policy": policy.hash})


def check_preferences(config: PairsFileConfig) -> None:
    """Raises PlumblineError if no line of the file is a preference; the first that is one ends the reading."""
    path, unreadable = Path(config.file), Counter[str]()
    if not find_preference(lines_of(path), config, unreadable):
        raise _nothing_in(path, facts_of(0, unreadable))


def find_preference(lines: Iterable[tuple[int, bytes]], names: PairsFileConfig | Recorded, unreadable: Counter[str]) -> bool:
    """Whether one of `lines` is a preference. Why those before it are none is counted in `unreadable`."""
    for number, line in lines:
        found = _read(line, number, partial(read_named, names=names))
        if not isinstance(found, Unreadable):
            return True
        unreadable[found.reason] += 1
    return False


def read_named(told: Any, _number: int, names: PairsFileConfig | Recorded) -> Preference | Unreadable:
    """The preference in a parsed JSON line whose prompt and answers stand under the keys that `names` gives."""
    if not isinstance(told, dict):
        return Unreadable("not_an_object")
    sides = {side: look_up(told, getattr(names, side)) for side in ("prompt", "chosen", "rejected")}
    return read_preference(sides | {key: told.get(key) for key in ("completion", "label")})


def _nothing_in(path: Path, facts: Mapping[str, Any]) -> PlumblineError:
    told = f"{facts['warnings'][0]}; {keys_of(path)}" if facts["lines"] else "it is empty"
    return PlumblineError(
        f"{path} is no preference file: {told}; give {_SHAPES}, and where they have other names rename them, or say what "
        "they are called in a configuration's pairs.prompt, pairs.chosen and pairs.rejected"
    )


def facts_of(pairs: int, unreadable: Mapping[str, int]) -> dict[str, Any]:
    """What an import says of itself: `lines`, `pairs`, `unreadable` lines by reason, and these in words under `warnings`."""
    lost = sum(unreadable.values())
    reasons = "; ".join(f"{count} times {REASONS[reason]}" for reason, count in unreadable.items())
    told = [f"{lost} of {pairs + lost} lines could not be read: {reasons}"] if lost else []
    return {"lines": pairs + lost, "pairs": pairs, "unreadable": dict(unreadable), "warnings": told}


def keys_of(path: Path) -> str:
    """What the first line that is an object holds, in words."""
    keys = [repr(key) for key in first_object(path)]
    return f"the first has {', '.join(keys[:8]) or 'no keys'}"


def refuse_unreadable(read: Dataset, file: str, most: float) -> None:
    """Raises PlumblineError if more than the share `most` of the lines of an import could not be read."""
    if read.facts["lines"] - read.facts["pairs"] > most * read.facts["lines"]:
        raise PlumblineError(
            f"{file}: {read.facts['warnings'][0]}; that is more than validate.max_quarantined ({most:g}) allows: correct "
            f"the lines that {read.folder / 'unreadable.jsonl'} names"
        )


def read_preferences(path: Path) -> list[tuple[list[Message], str, str]]:
    """(prompt, chosen, rejected) of the whole pairs that can be read of a preference file. Raises PlumblineError without any."""
    if not path.is_file():
        raise PlumblineError(f"there is no file {path}: give {_SHAPES}")
    found = []
    for number, line in lines_of(path):
        preference = _read(line, number, lambda told, _: read_preference(told))
        if isinstance(preference, Preference) and preference.chosen is not None and preference.rejected is not None:
            found.append((preference.prompt, preference.chosen, preference.rejected))
    if not found:
        raise PlumblineError(
            f"none of the lines of {path} puts one answer over another ({keys_of(path)}): give JSON lines with chosen/rejected "
            "transcripts, or with prompt, chosen and rejected as texts or messages"
        )
    return found


def read_lines(
    lines: Iterable[tuple[int, bytes]], read: Callable[[Any, int], Row | Unreadable], work: Path
) -> tuple[Rows, dict[str, Any]]:
    """The rows that `read` makes of the JSON in each line and its number, and the facts `lines`, `pairs` and `unreadable`.

    Which lines could not be read, and why, goes to `unreadable.jsonl` in the folder `work`.
    """
    rows: Rows = []
    failures: list[dict[str, Any]] = []
    for number, line in lines:
        row = _read(line, number, read)
        if isinstance(row, Unreadable):
            failures.append({"line": number, "reason": row.reason, "meaning": REASONS[row.reason]})
        else:
            rows.append(row)
    with (work / "unreadable.jsonl").open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(failure) + "\n" for failure in failures)
    counts = Counter(failure["reason"] for failure in failures)
    return rows, facts_of(len(rows), dict(sorted(counts.items())))


def _read(line: bytes, number: int, read: Callable[[Any, int], T | Unreadable]) -> T | Unreadable:
    from jinja2 import TemplateError

    try:
        return read(read_json(line.decode("utf-8-sig" if number == 1 else "utf-8")), number)
    except UnicodeDecodeError:
        return Unreadable("not_utf8")
    except ValueError:
        return Unreadable("not_json")
    except TemplateError:
        return Unreadable("refused_by_template")


def row_of(preference: Preference, number: int, tokenizer: "PreTrainedTokenizerFast", told: dict[str, Any]) -> Row | Unreadable:
    """A row of the pairs from the line `told`, with what it says beside the preference (models.transcripts.EXTRAS).

    A probability that the chosen answer beats the rejected one says nothing of an answer alone.
    """
    extras = read_extras(told)
    if isinstance(extras, Unreadable):
        return extras
    encode: dict[str, Callable[..., list[int]]] = {"gold": encode_answer, "base": encode_answer}
    encode |= {"changed_prompt": encode_prompt, "rejected_prompt": encode_prompt}
    known: Row = {EXTRAS[key]: encode[key](tokenizer, value) if key in encode else value for key, value in extras.items()}
    for side in ("chosen", "rejected"):
        text = getattr(preference, side)
        known |= {side: text, f"{side}_ids": text if text is None else encode_answer(tokenizer, text)}
        known |= {f"{side}_stopped": None if text is None else True}
    if preference.chosen is None or preference.rejected is None:
        known["win_probability"] = None
    return {
        "pair_id": str(number),
        "prompt_id": str(number),
        "prompt": preference.prompt,
        "prompt_ids": encode_prompt(tokenizer, preference.prompt),
        "method": "human",
        "margin": margin(known.get("chosen_score"), known.get("rejected_score")),
        "reasoning": "",
        "policy": "" if preference.rejected is not None else None,
    } | known


def split_held_out(folder: Path, pairs: Dataset, share: float, seed: int, side: Literal["train", "held_out"]) -> Dataset:
    """One side of a split of `pairs` by conversation: all pairs whose first user turn is the same stay together.

    So no prompt is on both sides, nor is an earlier stretch of a held-out conversation among the pairs to train on. The share is
    one of conversations, rounded up; which ones depends on the seed alone, not on their order.

    Raises PlumblineError if the pairs hold fewer than two conversations.
    """

    def make(_work: Path) -> tuple[Rows, dict[str, Any]]:
        rows = pairs.records()
        openings = [" ".join(opening(row["prompt"]).casefold().split()) for row in rows]
        ordered = sorted(set(openings), key=lambda text: hashlib.sha256(f"{seed}\n{text}".encode()).digest())
        if len(ordered) < 2:
            raise PlumblineError(f"{pairs.folder} holds {len(ordered)} conversation: at least two are needed to hold one out")
        held = set(ordered[: min(math.ceil(share * len(ordered)), len(ordered) - 1)])
        kept = [row for row, name in zip(rows, openings, strict=True) if (name in held) == (side == "held_out")]
        return kept, {"conversations": len(held) if side == "held_out" else len(ordered) - len(held)}

    return build(folder, "pairs", {"share": share, "seed": seed, "side": side}, make, parents=[pairs])
