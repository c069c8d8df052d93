"""What a terminal is given to read."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` for a terminal: what a file or a name held must not move its cursor or change its colours."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
