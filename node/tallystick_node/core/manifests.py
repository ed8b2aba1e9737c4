"""Manifests: of what chunks a payload is, in canonical bytes; and its id, the hash of them.

A manifest has 36 bytes for each chunk, in order: its SHA-256 (32 bytes) and its size (4 bytes, big-endian).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

_PREFIX: Final = b"tallystick payload 1\n"
_CHUNK: Final = struct.Struct(">32sI")

CHUNK_ENTRY_BYTES: Final = _CHUNK.size
"""What a chunk takes in a manifest."""


class ChunkRef(NamedTuple):
    """A chunk, by its SHA-256."""

    hash: bytes
    size_bytes: int


def payload_id(manifest: bytes) -> bytes:
    """What names a payload: 32 bytes, over all that it is."""
    return hashlib.sha256(_PREFIX + manifest).digest()


def chunks_of(manifest: bytes) -> list[ChunkRef]:
    """The chunks in order. Its length must be a multiple of `CHUNK_ENTRY_BYTES`."""
    return [ChunkRef(*entry) for entry in _CHUNK.iter_unpack(manifest)]


def manifest_of(chunks: Iterable[ChunkRef]) -> bytes:
    """The manifest of these chunks."""
    return b"".join([_CHUNK.pack(*chunk) for chunk in chunks])
