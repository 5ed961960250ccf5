"""What a stranger's JSON can do is be refused, in a sentence that names the line."""

import gzip
import os
from pathlib import Path

import pytest

from data_contracts import json_text
from data_contracts.errors import PlumblineError
from data_contracts.json_text import json_lines, lines_of, read_json
from data_contracts.store import file_digest

DEEP = "[" * 100_000


def test_a_value_that_nests_too_deeply_is_an_error_like_any_other() -> None:
    with pytest.raises(ValueError, match="too deeply"):
        read_json(DEEP)
    assert read_json('{"a": [1, "\u2028"]}') == {"a": [1, "\u2028"]}


def test_every_line_that_is_not_blank_is_read_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "ä b.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": "\xe2\x80\xa8"}\r\n\n  \n[2, "\\ud83d\\ude00"]')
    assert list(json_lines(path, "rows")) == [(1, {"a": "\u2028"}), (4, [2, "😀"])]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON .*codec"),
        (DEEP.encode(), "is not JSON .*too deeply"),
        (b"9" * 5000, "is not JSON"),
        (b'{"a": ["\\uD83D"]}', "half a surrogate pair"),
        (b'{"\\udc00": 1}', "half a surrogate pair"),
    ],
)
def test_the_line_that_cannot_be_read_is_named(tmp_path: Path, line: bytes, said: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"{}\n" + line + b"\n")
    with pytest.raises(PlumblineError, match=rf"rows\.jsonl:2 .*{said}"):
        list(json_lines(path, "rows"))


def test_a_folder_or_nothing_is_no_file(tmp_path: Path) -> None:
    for path, said in ((tmp_path, "is a folder"), (tmp_path / "none", "there is no file")):
        with pytest.raises(PlumblineError, match=rf"{said}.*: rows are JSON lines"):
            list(json_lines(path, "rows"))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for read in (lines_of, file_digest, lambda path: json_lines(path, "rows")):
        with pytest.raises(PlumblineError, match=r"no file|not a (readable )?file"):
            list(read(tmp_path / "pipe"))


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "_LONGEST", 50)
    path, packed = tmp_path / "rows.jsonl", tmp_path / "rows.jsonl.gz"
    for longest in (50, 51):
        lines = b"{}\n" + b" " * (longest - 1) + b"\n"
        path.write_bytes(lines)
        packed.write_bytes(gzip.compress(lines))
        for file in (path, packed):
            if longest == 50:
                assert [number for number, _ in lines_of(file)] == [1]
            else:
                with pytest.raises(PlumblineError, match=r":2 is longer than"):
                    list(lines_of(file))
