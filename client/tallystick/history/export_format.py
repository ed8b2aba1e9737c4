"""What an export of a log is: JSON Lines, chained, signed if the writer has a key.

    {"format": "tallystick-export", "version": 1, "namespace": .., "agent": .., "branch": .., "head_seq": ..}
    {"state": base64 of a piece of the state at the base, as canonical JSON}           as many as the head says, or none
    {"seq": 1, "time_unix_ms": .., "actor": .., "hash": hex, "mutation": base64 of the bytes that were hashed}
    {"checkpoint": {"name": .., "seq": .., "step": .., "state_digest": hex, "hash": hex, ...}}    behind its mutation
    {"end": {"mutations": N, "checkpoints": M, "hash": hex of the head, "sha256": hex of all bytes before this line,
             "public_key": base64, "signature": base64}}                                  the last two if it is signed

Where the oldest mutations are gone, or are in another file (of an archive), it begins behind a base. Then the version
is 2, the head has `"base": {"seq": N, "hash": hex, "state_digest": hex, "state_pieces": P}`, and the
first mutation is N + 1.

The signature (Ed25519, RFC 8032) is over `SIGNED` followed by the 32 bytes of `sha256`.
There is one way to write a value, so that no byte can be changed unseen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

FORMAT: Final = "tallystick-export"
VERSION: Final = 1
BASED_VERSION: Final = 2
"""Of an export that begins behind a base."""

STATE_PIECE_BYTES: Final = 1024 * 1024
"""A state is cut into pieces of this size; the last may be smaller."""

STATE_PIECES: Final = 64
"""No state has more."""

SIGNED: Final = b"tallystick-export-1\n"
"""What a signature covers begins with this, so that it can pass for no other."""

LINE_BYTES: Final = 4 * 1024 * 1024
"""A line is never longer: a mutation has at most 1 MiB, and base64 takes a third more."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Who signed: the public key (32 bytes), and the signature (64 bytes)."""

    public_key: bytes
    signature: bytes


Sign: TypeAlias = Callable[[bytes], Signature]
"""Signs a message with Ed25519."""


@dataclass(frozen=True, slots=True)
class ExportedCheckpoint:
    """A checkpoint in an export: where, and what the state was there (SHA-256 of its canonical JSON)."""

    name: str
    seq: int
    state_digest: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class ExportedBase:
    """Where an export begins that does not begin with the first mutation: what the log, and its state, was there."""

    seq: int
    hash: bytes
    state: bytes


@dataclass(frozen=True, slots=True)
class ExportEnd:
    """How an export ends: how much it holds, the hash of the head, and what is signed by whom."""

    mutations: int
    checkpoints: int
    hash: bytes
    message: bytes
    signature: Signature | None
