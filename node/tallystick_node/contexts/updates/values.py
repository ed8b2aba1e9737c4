"""Passes over the values inside an update, checking them: nothing is built.

- lib0's own values ("any") and JSON texts (formats, embeds). Both nest; both are walked without recursion.
- yrs reads both by recursion and reserves what a count promises, so depth and counts are checked before it sees them.
- JSON is read by orjson, which is as strict as the parser of yrs: UTF-8, no NaN, no lone surrogates.
"""

from __future__ import annotations

from typing import Final

import orjson

from tallystick.errors import Invalid, Reason

from .lib0 import malformed, read_number, read_string, skip_bytes, skip_signed

_SIZES: Final = {127: 0, 126: 0, 124: 4, 123: 8, 122: 8, 121: 0, 120: 0}
"""Values of a fixed size, by tag: undefined, null, float32, float64, bigint, false, true."""

_INTEGER: Final = 125
_STRING: Final = 119
_OBJECT: Final = 118
_ARRAY: Final = 117
_BINARY: Final = 116


def too_deep(limit: int) -> Invalid:
    """The refusal of what nests too deep."""
    return Invalid(f"it nests deeper than {limit}", reason=Reason.TOO_DEEP, metadata={"limit": str(limit)})


def skip_any(data: bytes, at: int, depth_limit: int) -> int:
    """The position after one value of lib0.

    Raises:
        Invalid: MALFORMED_UPDATE, TOO_DEEP.
        IndexError, UnicodeDecodeError: as `lib0` says.
    """
    open_: list[tuple[int, bool]] = []  # of each container around: what is still to come in it, and whether with keys
    left, has_keys = 1, False
    while True:
        while not left:
            if not open_:
                return at
            left, has_keys = open_.pop()
        left -= 1
        if has_keys:
            _, at = read_string(data, at)
        tag = data[at]
        at += 1
        if tag == _STRING:
            _, at = read_string(data, at)
        elif tag == _INTEGER:
            at = skip_signed(data, at)
        elif tag in _SIZES:
            at += _SIZES[tag]
        elif tag in (_ARRAY, _OBJECT):
            count, at = read_number(data, at)
            if count > len(data) - at:
                raise malformed("a value has more parts than the update has bytes")
            if len(open_) >= depth_limit:
                raise too_deep(depth_limit)
            open_.append((left, has_keys))
            left, has_keys = count, tag == _OBJECT
        elif tag == _BINARY:
            at = skip_bytes(data, at)
        else:
            raise malformed(f"no value has the tag {tag}")
        if at > len(data):
            raise malformed("a value is longer than the update")


def check_json(text: str, depth_limit: int) -> None:
    """Checks a JSON text.

    Raises:
        Invalid: MALFORMED_UPDATE: it is no JSON; TOO_DEEP.
    """
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise malformed("a JSON text in it is no JSON") from None
    if text.count("[") + text.count("{") <= depth_limit:
        return
    level: list[object] = [value]
    for _ in range(depth_limit + 1):
        level = [part for whole in level for part in _parts(whole)]
        if not level:
            return
    raise too_deep(depth_limit)


def _parts(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
