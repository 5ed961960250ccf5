"""Strangers' text for a terminal."""

from data_contracts.errors import in_short


def plain(text: str) -> str:
    """`text` with a space for every character that a terminal would take for an order."""
    return "".join(c if c.isprintable() else " " for c in text)


def safe(text: str, most: int = 220) -> str:
    """One line of it, cut after so many characters."""
    return in_short(plain(text), most)
