"""Addresses: what is one, and how it may be shown."""

import re
from urllib.parse import urlsplit


def mask(text: str) -> str:
    """`text` without the user names, passwords and queries of the addresses in it: they may be secrets."""
    text = re.sub(r"://[^@/\s]*@", "://…@", text)
    return re.sub(r"(://[^\s?#]*\?)[^\s#]+", r"\1…", text)


def is_http(address: str) -> bool:
    """Whether a server may answer there."""
    try:
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False
