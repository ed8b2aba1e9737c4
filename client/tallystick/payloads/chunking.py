"""Cuts bytes where their content says so: an edit moves the cuts around it, and no others.

Rules of this file:
- Pure. The same bytes give the same chunks, in whatever pieces they are fed, on every machine and in every release.
- A chunk holds `MIN_CHUNK_BYTES` to `MAX_CHUNK_BYTES`; the last one may be shorter.
- Whether a chunk ends behind a byte depends on the `_WINDOW_BYTES` before it and on the chunk's length: nothing else.

A loop over each byte is too slow in Python, so the bytes are taken as one long integer: shifts and XORs mix each
byte with the nine before it, in all places at once. Where that gives 0 (one place in 256) a checksum of the window
decides: rarely while the chunk is short, often once it is longer than `_CENTRE_BYTES` (as FastCDC does it).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from typing import Final

MIN_CHUNK_BYTES: Final = 16 * 1024
MAX_CHUNK_BYTES: Final = 256 * 1024

BLOCK_BYTES: Final = 1024 * 1024
"""How much is looked at together."""

_CENTRE_BYTES: Final = 64 * 1024
_WINDOW_BYTES: Final = 64
_SHORT_MASK: Final = (1 << 9) - 1
_LONG_MASK: Final = (1 << 6) - 1
_SHIFTS_BITS: Final = ((9, 20), (30, 41))
_SALT: Final = b"tallystick chunks 157 "
_SPREAD: Final = bytes(sorted(range(256), key=lambda value: hashlib.sha256(_SALT + bytes((value,))).digest()))
"""A fixed shuffle of byte values, so that those of a text differ in all bits. The salt is such that of all runs of one
byte only that of 0xC1, which no text has, would be looked at in each place: slow, not wrong."""


class Chunker:
    """Takes bytes in pieces of any size, and gives chunks. It holds at most a block and a chunk, and what it is fed."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """The chunks that are settled now."""
        self._held += piece
        return self._cut(is_last=False) if len(self._held) >= BLOCK_BYTES + MAX_CHUNK_BYTES else []

    def finish(self) -> list[bytes]:
        """The chunks of what is left; nothing is fed after it."""
        return self._cut(is_last=True)

    def _cut(self, *, is_last: bool) -> list[bytes]:
        data = bytes(self._held)
        chunks, begin = [], 0
        for end in _ends(data, is_last=is_last):
            chunks.append(data[begin:end])
            begin = end
        del self._held[:begin]
        return chunks


def _ends(data: bytes, *, is_last: bool) -> Iterator[int]:
    """Where chunks end, as far as that is settled: what follows cannot change it."""
    marks, begin = _marks(data), 0
    while len(data) - begin >= MAX_CHUNK_BYTES or (is_last and begin < len(data)):
        begin = _end(data, marks, begin)
        yield begin


def _end(data: bytes, marks: bytes, begin: int) -> int:
    limit = min(begin + MAX_CHUNK_BYTES, len(data))
    at = marks.find(0, begin + MIN_CHUNK_BYTES - 1, limit)
    while at >= 0:
        end = at + 1
        mask = _SHORT_MASK if end - begin < _CENTRE_BYTES else _LONG_MASK
        if not zlib.crc32(data[end - _WINDOW_BYTES : end]) & mask:
            return end
        at = marks.find(0, end, limit)
    return limit


def _marks(data: bytes) -> bytes:
    """A byte for each place: 0 where a chunk might end. Little end first, so a shift moves bytes to later places."""
    mixed = int.from_bytes(data.translate(_SPREAD), "little")
    for near_bits, far_bits in _SHIFTS_BITS:
        mixed ^= (mixed << near_bits) ^ (mixed << far_bits)
    return mixed.to_bytes(len(data) + _WINDOW_BYTES, "little")
