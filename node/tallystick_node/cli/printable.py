"""What text of others looks like on a terminal. A module of its own: to say why it failed, no command waits for what
draws tables."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with everything that could steer a terminal written as an escape; newlines stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
