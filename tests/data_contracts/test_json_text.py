"""What a stranger's JSON can do is be refused, in a sentence that names the line."""

from pathlib import Path

import pytest

from data_contracts.errors import PlumblineError
from data_contracts.json_text import json_lines, read_json

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
