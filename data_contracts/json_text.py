"""JSON that strangers wrote."""

import contextlib
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeGuard

from data_contracts.errors import PlumblineError

_GZIP = b"\x1f\x8b"
_LONGEST = 2**26  # bytes of a line: no conversation is as long, and a small gzip file may hold one that fills the memory
SURROGATE = re.compile(r"[\ud800-\udfff]")  # half a pair: JSON can spell it, and no text file can hold it


def read_json(text: str | bytes, **how: Any) -> Any:
    """`json.loads`, for which it is a ValueError like any other where the value nests deeper than Python goes."""
    try:
        return json.loads(text, **how)
    except RecursionError:
        raise ValueError("it nests too deeply") from None


def is_number(value: Any) -> TypeGuard[int | float]:
    """Python takes true and false for numbers."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def lines_of(path: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line) of every line of a file, plain or gzip, that is not blank; progress counts bytes.

    Raises PlumblineError if the file cannot be read, if it is a damaged gzip file, and for the two other formats in which such
    data comes: Parquet, and one JSON array of all rows.
    """
    if path.exists() and not path.is_file():  # a pipe or a device might never end
        raise PlumblineError(f"{path} is not a file: name a file of JSON lines")
    try:
        with path.open("rb") as raw, contextlib.ExitStack() as closing:
            total, head = path.stat().st_size, raw.read(4)
            raw.seek(0)
            if head == b"PAR1":
                raise PlumblineError(_instead(path, "a Parquet file", "read_parquet"))
            stream: gzip.GzipFile | IO[bytes] = closing.enter_context(gzip.open(raw)) if head.startswith(_GZIP) else raw
            for number, line in enumerate(iter(lambda: stream.readline(_LONGEST + 1), b""), 1):
                if len(line) > _LONGEST:
                    raise PlumblineError(f"{path}:{number} is longer than {_LONGEST >> 20} MiB: split or correct it")
                if number == 1 and re.match(rb"(\xef\xbb\xbf)?\s*\[\s*(\{|$)", line):
                    raise PlumblineError(_instead(path, "one JSON array", "read_json"))
                if line.strip():
                    yield number, line
                progress(raw.tell(), total)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise PlumblineError(f"{path} is a damaged gzip file ({error}): fetch it again") from None
    except OSError as error:
        raise PlumblineError(f"{path} cannot be read ({error.strerror}): name a file of JSON lines") from None


def _instead(path: Path, what: str, read: str) -> str:
    write = f"pandas.{read}({path.name!r}).to_json({f'{path.stem}.jsonl'!r}, orient='records', lines=True)"
    return f"{path} is {what}, and JSON lines are read: write it as such, for example by {write}"


def json_lines(path: Path, what: str) -> Iterator[tuple[int, Any]]:
    """(number from 1, value) of every line that is not blank of a file in UTF-8, plain or gzip; `what` says what the lines are.

    Raises PlumblineError if the file cannot be read, or naming the first line that is not JSON or holds half a surrogate pair.
    """
    if not path.is_file():
        found = f"{path} is a folder" if path.is_dir() else f"there is no file {path}"
        raise PlumblineError(f"{found}: {what} are JSON lines")
    for number, line in lines_of(path):
        try:
            value = read_json(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except ValueError as error:
            raise PlumblineError(f"{path}:{number} is not JSON ({error}): {what} are JSON lines") from None
        if b"\\u" in line and SURROGATE.search(json.dumps(value, ensure_ascii=False)):
            raise PlumblineError(f"{path}:{number} contains half a surrogate pair, which is not valid text: correct the line")
        yield number, value
