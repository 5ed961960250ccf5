"""JSON lines, plain or gzip, read one by one: what people's prompts and preferences come in."""

import contextlib
import gzip
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from data_contracts.errors import PlumblineError

_GZIP = b"\x1f\x8b"


def lines_of(path: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line) of every line that is not blank; progress counts bytes.

    Raises PlumblineError if the file cannot be read, if it is a damaged gzip file, and for the two other formats in which such
    data comes: Parquet, and one JSON array of all rows.
    """
    try:
        with path.open("rb") as raw, contextlib.ExitStack() as closing:
            total, head = path.stat().st_size, raw.read(4)
            raw.seek(0)
            if head == b"PAR1":
                raise PlumblineError(_instead(path, "a Parquet file", "read_parquet({name})"))
            stream: Iterable[bytes] = closing.enter_context(gzip.open(raw)) if head.startswith(_GZIP) else raw
            for number, line in enumerate(stream, 1):
                if number == 1 and re.match(rb"(\xef\xbb\xbf)?\s*\[\s*(\{|$)", line):
                    raise PlumblineError(_instead(path, "one JSON array", "read_json({name})"))
                if line.strip():
                    yield number, line
                progress(raw.tell(), total)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise PlumblineError(f"{path} is a damaged gzip file ({error}): fetch it again") from None
    except OSError as error:
        raise PlumblineError(f"{path} cannot be read ({error.strerror}): name a file of JSON lines") from None


def _instead(path: Path, what: str, read: str) -> str:
    name, lines = repr(path.name), repr(f"{path.stem}.jsonl")
    write = f"pandas.{read.format(name=name)}.to_json({lines}, orient='records', lines=True)"
    return f"{path} is {what}, and JSON lines are read: write it as such, for example by {write}"
