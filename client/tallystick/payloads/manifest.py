"""Of what chunks a payload is, in canonical bytes, and its id, which is the hash of them; as payload.proto says.

Who has the id can check the manifest, and who has the manifest can check each chunk alone.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from tallystick.errors import Corrupt

PAYLOAD_BYTES: Final = 1024 * 1024 * 1024
"""One payload; a number of the nodes."""
PAYLOAD_CHUNKS: Final = 32_768
"""Chunks of one payload; a number of the nodes."""

_PREFIX: Final = b"tallystick payload 1\n"
_ENTRY: Final = struct.Struct(">32sI")


class Chunk(NamedTuple):
    """A chunk, by its SHA-256."""

    hash: bytes
    size_bytes: int


def chunk_of(data: bytes) -> Chunk:
    """What names these bytes."""
    return Chunk(hashlib.sha256(data).digest(), len(data))


def pack(chunks: Iterable[Chunk]) -> bytes:
    """The manifest of these chunks."""
    return b"".join(_ENTRY.pack(*chunk) for chunk in chunks)


def id_of(manifest: bytes) -> bytes:
    """What names a payload: 32 bytes."""
    return hashlib.sha256(_PREFIX + manifest).digest()


def unpack(manifest: bytes, payload_id: bytes) -> list[Chunk]:
    """The chunks, in order, of the manifest that a node sent for a payload.

    Raises:
        Corrupt: it is not that payload's.
    """
    if id_of(manifest) != payload_id:
        raise Corrupt("the node sent a manifest that is not the payload's", metadata={"payload": payload_id.hex()})
    return [Chunk(*entry) for entry in _ENTRY.iter_unpack(manifest)]
