"""Frames between a node and its worker: four bytes of length, big-endian, and a message."""

from __future__ import annotations

import struct
from typing import Final

from google.protobuf.message import Message

from tallystick_node.contexts.worker.limits import FRAME_BYTES

_LENGTH: Final = struct.Struct(">I")
_COMPACT_BYTES: Final = 256 * 1024


class FrameTooLarge(ValueError):
    """A frame is larger than `FRAME_BYTES`: the other end is not what it should be."""


def encode(message: Message) -> bytes:
    """The frame of a message.

    Raises:
        FrameTooLarge: the other end would not take it.
    """
    data = message.SerializeToString()
    if len(data) > FRAME_BYTES:
        raise FrameTooLarge(f"a message of {len(data)} bytes")
    return _LENGTH.pack(len(data)) + data


class Frames:
    """Frames from a stream of bytes, as they come."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0

    @property
    def buffered_bytes(self) -> int:
        """What came and was not taken yet."""
        return len(self._buffer) - self._at

    def feed(self, data: bytes | memoryview) -> None:
        """More has come."""
        if self._at and (self._at == len(self._buffer) or self._at >= _COMPACT_BYTES):
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += data

    @property
    def has_next(self) -> bool:
        """Whether `take` has a message.

        Raises:
            FrameTooLarge: the next one never will be whole.
        """
        size_bytes = self._next_bytes()
        return size_bytes is not None and self.buffered_bytes >= _LENGTH.size + size_bytes

    def take(self) -> bytes | None:
        """The next message's bytes; None: it is not whole yet.

        Raises:
            FrameTooLarge: it never will be.
        """
        size_bytes = self._next_bytes()
        if size_bytes is None or self.buffered_bytes < _LENGTH.size + size_bytes:
            return None
        begin = self._at + _LENGTH.size
        self._at = begin + size_bytes
        with memoryview(self._buffer) as view:
            return bytes(view[begin : self._at])

    def _next_bytes(self) -> int | None:
        if self.buffered_bytes < _LENGTH.size:
            return None
        (size_bytes,) = _LENGTH.unpack_from(self._buffer, self._at)
        if size_bytes > FRAME_BYTES:
            raise FrameTooLarge(f"a frame of {size_bytes} bytes")
        return int(size_bytes)
