"""JSON that strangers wrote."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_contracts.errors import PlumblineError

SURROGATE = re.compile(r"[\ud800-\udfff]")  # half a pair: JSON can spell it, and no text file can hold it


def read_json(text: str | bytes, **how: Any) -> Any:
    """`json.loads`, for which it is a ValueError like any other where the value nests deeper than Python goes."""
    try:
        return json.loads(text, **how)
    except RecursionError:
        raise ValueError("it nests too deeply") from None


def json_lines(path: Path, what: str) -> Iterator[tuple[int, Any]]:
    """(number from 1, value) of every line of a file in UTF-8 that is not blank; `what` says in a sentence what the lines are.

    Raises PlumblineError if there is no such file, or naming the first line that is not JSON or holds half a surrogate pair.
    """
    if not path.is_file():
        raise PlumblineError(f"there is no file {path}: {what} are JSON lines")
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                value = read_json(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except ValueError as error:
                raise PlumblineError(f"{path}:{number} is not JSON ({error}): {what} are JSON lines") from None
            if b"\\u" in line and SURROGATE.search(json.dumps(value, ensure_ascii=False)):
                raise PlumblineError(f"{path}:{number} holds half a surrogate pair, which no text can: mend the line")
            yield number, value
