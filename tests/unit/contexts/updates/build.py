"""Updates made by hand, right or wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tallystick_node.contexts.updates.lib0 import write_number

ONE_VALUE = bytes([1, 120])
"""The content of kind "any": one value, true."""

AtId = tuple[int, int]


def number(value: int) -> bytes:
    """As lib0 writes it."""
    out = bytearray()
    write_number(out, value)
    return bytes(out)


def string(text: str | bytes) -> bytes:
    """A string, or bytes that say they are one."""
    data = text if isinstance(text, bytes) else text.encode()
    return number(len(data)) + data


def an_id(value: AtId) -> bytes:
    """An id."""
    return number(value[0]) + number(value[1])


def item(
    kind: int = 8,
    content: bytes = ONE_VALUE,
    *,
    origin: AtId | None = None,
    right_origin: AtId | None = None,
    parent: str | AtId = "root",
    key: str | None = None,
) -> bytes:
    """An item; its parent is written where it has no origin."""
    info = kind | (0x80 if origin else 0) | (0x40 if right_origin else 0) | (0x20 if key is not None else 0)
    out = bytes([info])
    if origin:
        out += an_id(origin)
    if right_origin:
        out += an_id(right_origin)
    if not origin and not right_origin:
        out += b"\1" + string(parent) if isinstance(parent, str) else b"\0" + an_id(parent)
        if key is not None:
            out += string(key)
    return out + content


def update(
    sections: Mapping[int, tuple[int, Sequence[bytes]]], deletes: Mapping[int, Sequence[tuple[int, int]]] | None = None
) -> bytes:
    """An update: by writer the first clock and the structs; by writer the deleted ranges, start and end."""
    out = number(len(sections))
    for writer, (clock, structs) in sections.items():
        out += number(len(structs)) + number(writer) + number(clock) + b"".join(structs)
    deletes = deletes or {}
    out += number(len(deletes))
    for writer, ranges in deletes.items():
        out += number(writer) + number(len(ranges))
        for start, end in ranges:
            out += number(start) + number(end - start)
    return out
