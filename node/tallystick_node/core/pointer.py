"""JSON Pointer, RFC 6901: text to tokens and back, and what a token means in a list.

Rules of this file:
- A pointer is empty (the whole) or starts with "/"; "~0" is "~", "~1" is "/", any other "~" is refused.
- In a list a token is an index without leading zeros; "-" (behind the last) only where a caller says so.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from tallystick.errors import Invalid, Reason
from tallystick_node.core import limits

Tokens: TypeAlias = tuple[str, ...]

END: Final = "-"
"""The token behind the last item of a list."""

_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,9}")


def parse_pointer(text: str) -> Tokens:
    """The tokens of a pointer.

    Raises:
        Invalid: `INVALID_POINTER` where the text is none.

    Example:
        >>> parse_pointer("/a~1b/0")
        ('a/b', '0')
    """
    if not text:
        return ()
    if text[0] != "/":
        raise _refused(text, "a JSON Pointer is empty or starts with '/'")
    tokens = text[1:].split("/")
    if "~" not in text:
        return tuple(tokens)
    return tuple(_unescape(token, text) for token in tokens)


def format_pointer(tokens: Tokens) -> str:
    """The text of a pointer."""
    return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in tokens)


def check_pointer(text: str) -> Tokens:
    """`parse_pointer` for what a client handed in, with its limits.

    Raises:
        Invalid: `INVALID_POINTER` or `TOO_LARGE`.
    """
    if len(text.encode()) > limits.POINTER_BYTES:
        raise _too_large(limits.POINTER_BYTES, "bytes")
    tokens = parse_pointer(text)
    if len(tokens) > limits.POINTER_TOKENS:
        raise _too_large(limits.POINTER_TOKENS, "tokens")
    return tokens


def is_index(token: str) -> bool:
    """Whether the token can be an index of a list: digits without leading zeros."""
    return _INDEX.fullmatch(token) is not None


def _unescape(token: str, text: str) -> str:
    parts = token.split("~")
    for part in parts[1:]:
        if part[:1] not in {"0", "1"}:
            raise _refused(text, "'~' must be written '~0', '/' inside a token '~1'")
    return token.replace("~1", "/").replace("~0", "~")


def _refused(text: str, why: str) -> Invalid:
    return Invalid(f"{why}: {text[:100]!r}", reason=Reason.INVALID_POINTER, metadata={"field": "path"})


def _too_large(limit: int, unit: str) -> Invalid:
    return Invalid(
        f"the pointer has more than {limit} {unit}",
        reason=Reason.TOO_LARGE,
        metadata={"field": "path", "limit": str(limit), "unit": unit},
    )
