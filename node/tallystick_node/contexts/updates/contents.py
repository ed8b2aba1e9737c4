"""The values inside an update that was admitted, as JSON has them.

Rules of this file:
- Only of updates that passed `values`: nesting and counts are bounded there.
- Bytes are `{"$bytes": base64}`; what JSON has no word for is null; of a type, which is filled later, nothing is said.
"""

from __future__ import annotations

import base64
import json
import math
import struct as packing
from typing import Final, TypeAlias

from .decode import Kind, Struct
from .lib0 import read_number, read_string

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_FLOATS: Final = {124: (">f", 4), 123: (">d", 8)}
_INTEGERS: Final = {122: (">q", 8)}
_PLAIN: Final[dict[int, Json]] = {127: None, 126: None, 121: False, 120: True}
_INTEGER: Final = 125
_STRING: Final = 119
_ARRAY: Final = 117
_BINARY: Final = 116


def value_at(update: bytes, struct: Struct, clock: int) -> tuple[Json] | None:
    """The value of an id of a struct, of a text the whole run; None: nothing can be said."""
    at = struct.content[0]
    if struct.kind is Kind.ANY:
        count, at = read_number(update, at)
        value: Json = None
        for _ in range(min(count, clock - struct.clock + 1)):
            value, at = _read_any(update, at)
        return (value,)
    if struct.kind is Kind.STRING:
        return (read_string(update, at)[0],)
    if struct.kind is Kind.EMBED:
        return (json.loads(read_string(update, at)[0]),)
    if struct.kind is Kind.BINARY:
        return (_read_bytes(update, at)[0],)
    return None


def _read_any(data: bytes, at: int) -> tuple[Json, int]:
    tag = data[at]
    at += 1
    if tag in _PLAIN:
        return _PLAIN[tag], at
    if tag == _STRING:
        return read_string(data, at)
    if tag == _INTEGER:
        return _read_signed(data, at)
    if tag in _FLOATS:
        form, size = _FLOATS[tag]
        number: float = packing.unpack_from(form, data, at)[0]
        return (None if not math.isfinite(number) else int(number) if number.is_integer() else number), at + size
    if tag in _INTEGERS:
        form, size = _INTEGERS[tag]
        whole: int = packing.unpack_from(form, data, at)[0]
        return whole, at + size
    if tag == _BINARY:
        return _read_bytes(data, at)
    count, at = read_number(data, at)
    if tag == _ARRAY:
        items: list[Json] = []
        for _ in range(count):
            item, at = _read_any(data, at)
            items.append(item)
        return items, at
    found: dict[str, Json] = {}
    for _ in range(count):
        key, at = read_string(data, at)
        found[key], at = _read_any(data, at)
    return found, at


def _read_signed(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    at += 1
    is_negative, number, bits = bool(byte & 0x40), byte & 0x3F, 6
    while byte >= 0x80:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << bits
        bits += 7
    return (-number if is_negative else number), at


def _read_bytes(data: bytes, at: int) -> tuple[Json, int]:
    size_bytes, at = read_number(data, at)
    return {"$bytes": base64.b64encode(data[at : at + size_bytes]).decode()}, at + size_bytes
