"""Strangers' text for a terminal."""


def plain(text: str) -> str:
    """`text` with a space for every character that a terminal would take for an order."""
    return "".join(c if c.isprintable() else " " for c in text)
