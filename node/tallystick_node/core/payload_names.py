"""Which payloads a JSON text names: each object `{"$payload": "<64 hex digits>", ...}` in it, however deep.

Rules of this file:
- Only an object that stands whole in one value counts. One that a state comes to have bit by bit, by operations below
  it, refers to nothing.
- A text without the word is not parsed: nearly none has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from tallystick_node.core.values import JsonValue, load_json

PAYLOAD_MEMBER: Final = "$payload"
"""The member that makes an object the name of a payload."""

_WORD: Final = PAYLOAD_MEMBER.encode()
_ESCAPE: Final = b"\\u00"
"""How a letter of the word may be written instead."""
_ID: Final = re.compile("[0-9a-f]{64}")


def payloads_named(*texts: bytes) -> tuple[bytes, ...]:
    """The ids of the payloads that these JSON texts name, sorted, each once."""
    found: set[bytes] = set()
    for text in texts:
        if _WORD in text or _ESCAPE in text:
            found.update(_named(load_json(text)))
    return tuple(sorted(found))


def _named(value: JsonValue) -> Iterable[bytes]:
    stack = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, dict):
            name = each.get(PAYLOAD_MEMBER)
            if isinstance(name, str) and _ID.fullmatch(name):
                yield bytes.fromhex(name)
            stack.extend(each.values())
        elif isinstance(each, list):
            stack.extend(each)
