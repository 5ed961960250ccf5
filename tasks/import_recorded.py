"""Import recorded: a round's share of a file of pairs, or of answers by several models, as pairs of the policy's tokens."""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.config_pairs import PromptsConfig, Recorded
from data_contracts.errors import PlumblineError
from data_contracts.json_text import SURROGATE, is_number, lines_of
from data_contracts.store import Dataset, Row, Rows, build, digest, open_dataset
from models.chat import encode_answer
from models.checkpoint import Checkpoint, load_tokenizer
from models.engine import Progress, quiet
from models.transcripts import REASONS, Unreadable
from tasks.import_pairs import find_preference, keys_of, read_lines, read_named, row_of
from tasks.run_folder import rounds_with
from tasks.sample_others import look_up

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def check_recorded(prompts: PromptsConfig, method: Recorded, rounds: int) -> None:
    """Raises PlumblineError if the file has fewer lines than the rounds need, or none of the first round's is a pair."""
    have = sum(1 for _ in lines_of(Path(prompts.file)))
    if have < prompts.per_round * rounds:
        raise PlumblineError(
            f"{prompts.file} holds {have} lines, but {rounds} rounds of prompts.per_round {prompts.per_round} need "
            f"{prompts.per_round * rounds}: lower one of them or add lines"
        )
    unreadable = Counter[str]()
    if not find_preference(_lines(prompts, 1), method, unreadable):
        raise _no_pair(prompts, 1, unreadable)


def check_lines(run: Path, prompts: PromptsConfig) -> None:
    """Raises PlumblineError if the lines that a round of `run` took are not where they were: new ones belong at the end."""
    for number in rounds_with(run, "import/manifest.json"):
        if open_dataset(run / f"round-{number}" / "import").manifest["config"]["lines"] != _content(prompts, number):
            raise PlumblineError(
                f"{prompts.file} was changed where round {number} of {run} took its pairs: put these lines back and append new "
                "pairs at the end, or use another --run-dir"
            )


def import_recorded(
    folder: Path, prompts: PromptsConfig, method: Recorded, policy: Checkpoint, number: int, progress: Progress = quiet
) -> Dataset:
    """The "pairs" in lines (number - 1) * per_round + 1 … number * per_round of `prompts.file`, in the order the file has them.

    Facts: `lines`, `pairs`, `unreadable` (reason → lines; the lines are in `unreadable.jsonl`).
    Raises PlumblineError if no line could be read.
    """

    def make(work: Path) -> tuple[Rows, dict[str, Any]]:
        read = partial(_read, method=method, tokenizer=load_tokenizer(policy.path))
        rows, facts = read_lines(_lines(prompts, number, progress), read, work)
        if not rows:
            raise _no_pair(prompts, number, facts["unreadable"])
        return rows, facts

    # keyed by what is taken, not by the whole file: that may grow between rounds
    slice_ = {"lines": _content(prompts, number), "round": number, **method.model_dump(mode="json")}
    return build(folder, "pairs", slice_, make, models={"policy": policy.hash})


def _no_pair(prompts: PromptsConfig, number: int, reasons: Mapping[str, int]) -> PlumblineError:
    path = Path(prompts.file)
    why = REASONS[max(reasons, key=reasons.__getitem__)] if reasons else "there is none"
    return PlumblineError(
        f"{path}: no line of round {number} could be read as a pair ({why}; {keys_of(path)}): correct the keys in method"
    )


def _lines(prompts: PromptsConfig, number: int, progress: Progress = quiet) -> Iterator[tuple[int, bytes]]:
    begin = (number - 1) * prompts.per_round
    return islice(lines_of(Path(prompts.file), progress), begin, begin + prompts.per_round)


def _content(prompts: PromptsConfig, number: int) -> str:
    """A digest of a round's lines and of their places, after which the pairs are called."""
    return digest([[line_number, line.strip().hex()] for line_number, line in _lines(prompts, number)])


def _read(told: Any, number: int, method: Recorded, tokenizer: "PreTrainedTokenizerFast") -> Row | Unreadable:
    preference = read_named(told, number, method)
    if isinstance(preference, Unreadable):
        return preference
    row = row_of(preference, number, tokenizer, told)
    if isinstance(row, Unreadable):
        return row
    gold = look_up(told, method.gold) if method.gold else None
    if isinstance(gold, str) and SURROGATE.search(gold):
        return Unreadable("not_text")
    gold_ids = encode_answer(tokenizer, gold) if isinstance(gold, str) else row.get("gold_ids")
    is_whole = preference.chosen is not None and preference.rejected is not None
    asked = method.probability is not None and is_whole  # one answer alone beats nothing
    chance = look_up(told, str(method.probability)) if asked else None
    if asked and not (is_number(chance) and 0 <= chance <= 1):
        return Unreadable("no_probability")
    return row | {
        "method": method.name,
        "win_probability": chance if asked else row.get("win_probability"),
        "chosen_policy": _writer(preference.chosen, method.chosen, "chosen"),
        "policy": _writer(preference.rejected, method.rejected, "rejected"),
        "on_policy": False,
        "gold_ids": gold_ids,
    }


def _writer(answer: str | None, key: str, usual: str) -> str | None:
    return None if answer is None else "" if key == usual else key
