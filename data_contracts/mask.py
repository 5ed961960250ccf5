"""Addresses as they may be shown."""

import re


def mask(text: str) -> str:
    """`text` without the user names, passwords and queries of the addresses in it: they may be secrets."""
    text = re.sub(r"://[^@/\s]*@", "://…@", text)
    return re.sub(r"(://[^\s?#]*\?)[^\s#]+", r"\1…", text)
