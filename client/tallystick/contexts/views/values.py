"""Values on their way into a document and out of it.

pycrdt bends or breaks on much that Python calls a value: integers come back as floats, bytes as bytearrays, and large
integers, lone surrogates and keys that are not strings end in a panic. So each value is walked first.

Rules of this file:
- What goes in is None, bool, int, float, str, bytes, and lists (or tuples) and dicts of these; subclasses become the
  plain type. All else is refused before pycrdt sees anything, with the path.
- A number that is whole and within +-(2^53 - 1) is an int when it is read, however it was written: the document, like
  JavaScript, does not tell 1 from 1.0. Other finite numbers are floats. Integers beyond are refused: write them as str.
- What other programs wrote and JSON cannot say (NaN, infinities) is read as None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn, TypeAlias

import pycrdt

from tallystick.errors import Invalid, Reason

Value: TypeAlias = "dict[str, Value] | list[Value] | str | int | float | bool | bytes | None"
"""A value as it is read."""

ValueLike: TypeAlias = "Mapping[str, ValueLike] | Sequence[ValueLike] | str | int | float | bool | bytes | None"
"""What is taken as a value: dicts, lists, tuples and scalars."""

SAFE_INT: Final = 2**53 - 1
"""The largest integer that JavaScript holds exactly; so the largest here."""

VALUE_DEPTH: Final = 64
"""Lists and dicts inside each other."""

VALUE_BYTES: Final = 512 * 1024
"""One value, or one insertion into a text; an update has twice as much."""

KEY_BYTES: Final = 1024
"""A key of a map."""

_OVERHEAD_BYTES: Final = 9
"""The most that an encoded value has beside its text."""


def normalise(value: ValueLike, path: str, *, inside: int = 0) -> Value:
    """The value as it will be read again; a copy that the caller cannot change afterwards.

    Args:
        path: where it goes, for the refusal.
        inside: in how many lists or dicts of ours it will lie.

    Raises:
        Invalid: `INVALID_VALUE`, `TOO_DEEP` or `TOO_LARGE`, with the `path`.
    """
    return _Walk().plain(value, path, inside)


def check_key(key: str, path: str) -> str:
    """The key, as a plain str.

    Raises:
        Invalid: `INVALID_VALUE`: no str, or a lone surrogate; `TOO_LARGE`.
    """
    key, size_bytes = _text(key, path)
    if size_bytes > KEY_BYTES:
        _too_large(path, KEY_BYTES)
    return key


def check_text(text: str, path: str) -> str:
    """The text, as a plain str.

    Raises:
        Invalid: `INVALID_VALUE`: no str, or a lone surrogate; `TOO_LARGE`.
    """
    text, size_bytes = _text(text, path)
    if size_bytes > VALUE_BYTES:
        _too_large(path, VALUE_BYTES)
    return text


def child(path: str, step: str | int) -> str:
    """The JSON Pointer one step further down."""
    return f"{path}/{str(step).replace('~', '~0').replace('/', '~1')}"


def read_value(raw: object) -> Value:
    """A value as pycrdt gives it, made plain again. Shared types inside become what they hold."""
    if raw is None or isinstance(raw, bool | str | bytes):
        return raw
    if isinstance(raw, float):
        return _number(raw)
    if isinstance(raw, int):
        return raw
    if isinstance(raw, bytearray | memoryview):
        return bytes(raw)
    if isinstance(raw, dict):
        return {str(key): read_value(item) for key, item in raw.items()}
    if isinstance(raw, list | tuple):
        return [read_value(item) for item in raw]
    if isinstance(raw, pycrdt.Map | pycrdt.Array):
        return read_value(raw.to_py())
    return str(raw)  # text, XML


def _number(number: float) -> int | float | None:
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) <= SAFE_INT else number


class _Walk:
    """One walk through one value. `room_bytes` also ends the walk through what is shared so often that it explodes."""

    def __init__(self) -> None:
        self.room_bytes = VALUE_BYTES
        self.around: set[int] = set()

    def plain(self, value: object, path: str, depth: int) -> Value:
        self._take(_OVERHEAD_BYTES, path)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            text, size_bytes = _text(value, path)
            self._take(size_bytes, path)
            return text
        if isinstance(value, int):
            return _integer(value, path)
        if isinstance(value, float):
            if not math.isfinite(value):
                _refuse(f"{value!r} is no value", path)
            return _number(value + 0.0)
        if isinstance(value, bytes | bytearray):
            self._take(len(value), path)
            return bytes(value)
        if not isinstance(value, dict | list | tuple):
            _refuse(f"a value of type {type(value).__qualname__} cannot be shared", path)
        return self._inside(value, path, depth)

    def _inside(self, value: dict[object, object] | list[object] | tuple[object, ...], path: str, depth: int) -> Value:
        if id(value) in self.around:
            _refuse("the value holds itself", path)
        if depth >= VALUE_DEPTH:
            raise Invalid(
                f"the value nests deeper than {VALUE_DEPTH}, at {path[:200]}",
                reason=Reason.TOO_DEEP,
                metadata={"path": path[:200], "limit": str(VALUE_DEPTH)},
            )
        self.around.add(id(value))
        try:
            if isinstance(value, dict):
                return {
                    self._key(key, path): self.plain(item, child(path, str(key)), depth + 1)
                    for key, item in value.items()
                }
            return [self.plain(item, child(path, index), depth + 1) for index, item in enumerate(value)]
        finally:
            self.around.discard(id(value))

    def _key(self, key: object, path: str) -> str:
        text, size_bytes = _text(key, path, "the key ")
        self._take(size_bytes, path)
        return text

    def _take(self, size_bytes: int, path: str) -> None:
        self.room_bytes -= size_bytes
        if self.room_bytes < 0:
            _too_large(path, VALUE_BYTES)


def _integer(value: int, path: str) -> int:
    if abs(value) > SAFE_INT:
        _refuse("an integer beyond 2^53 - 1: write it as a str", path)
    return int.__add__(value, 0)  # of an enum, the plain number


def _text(text: object, path: str, what: str = "") -> tuple[str, int]:
    if not isinstance(text, str):
        _refuse(f"{what}{text!r:.50} is no str", path)
    plain = str.__str__(text)  # of an enum, the plain text
    if plain.isascii():
        return plain, len(plain)
    try:
        return plain, len(plain.encode())
    except UnicodeEncodeError:
        _refuse(f"{what}{plain!r:.50} has a lone surrogate: it is no text", path)


def _refuse(message: str, path: str) -> NoReturn:
    raise Invalid(f"{message}, at {path[:200]}", reason=Reason.INVALID_VALUE, metadata={"path": path[:200]})


def _too_large(path: str, limit_bytes: int) -> NoReturn:
    raise Invalid(
        f"more than {limit_bytes} bytes, at {path[:200]}",
        reason=Reason.TOO_LARGE,
        metadata={"path": path[:200], "limit": str(limit_bytes), "unit": "bytes"},
    )
