"""Payloads as they are decided: commands, records, events and outcomes, and what core remembers of them.

Rules of this file: everything here is a value, equal on every replica, or an interface; what is decided is in
`payloads.py`.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class PutChunks:
    """Store chunks that the namespace does not have, each by its SHA-256."""

    time_unix_ms: int
    namespace: str
    chunks: tuple[bytes, ...]
    actor: str = ""


@dataclass(frozen=True, slots=True)
class PutPayload:
    """Make a payload of chunks that are stored, or touch the one that there is. `manifest`: see `manifests.py`."""

    time_unix_ms: int
    namespace: str
    manifest: bytes
    actor: str = ""


@dataclass(frozen=True, slots=True)
class CollectPayloads:
    """Remove payloads that nothing refers to and that were not touched since a time, then chunks that no payload has
    and that were not put since then: at most so many of each, the longest untouched first."""

    time_unix_ms: int
    namespace: str
    before_unix_ms: int
    limit: int


PayloadCommand: TypeAlias = PutChunks | PutPayload | CollectPayloads
"""On payloads. Repeated it is, by what it names, the same."""


class PayloadRecord(NamedTuple):
    """What is known of a payload without its manifest.

    Attributes:
        position: where it was put first; names it in the tables.
        id: 32 bytes, the hash of its manifest.
        chunks: in its manifest.
        references: places of logs that name it.
        touched_unix_ms: when it was put last, or its last reference went.
    """

    position: int
    namespace: str
    id: bytes
    size_bytes: int
    chunks: int
    references: int
    created_unix_ms: int
    touched_unix_ms: int
    actor: str


class ChunkRecord(NamedTuple):
    """A stored chunk without its content. `holders`: payloads that have it; `touched_unix_ms`: when it was put last."""

    number: int
    namespace: str
    hash: bytes
    size_bytes: int
    holders: int
    touched_unix_ms: int


class PayloadUsage(NamedTuple):
    """What a namespace's payloads take: chunks and manifests."""

    namespace: str
    stored_bytes: int = 0


class PayloadChange(enum.IntEnum):
    """What was decided of payloads. The numbers are part of the stored format."""

    CHUNKS_PUT = 1
    PAYLOAD_PUT = 2


class PayloadDecided(NamedTuple):
    """Something was stored. `hash`: the payload's id, or the SHA-256 of the hashes of the chunks; `chunks`: how many.
    Nobody watches it."""

    position: int
    change: PayloadChange
    namespace: str
    hash: bytes
    chunks: int
    size_bytes: int
    time_unix_ms: int
    actor: str


class PayloadsCollected(NamedTuple):
    """Payloads and chunks went. `hash`: the SHA-256 of the ids and hashes of all that did. Nobody watches it."""

    position: int
    namespace: str
    hash: bytes
    payloads: int
    chunks: int
    time_unix_ms: int
    actor: str = ""


@dataclass(frozen=True, slots=True)
class ChunksStored:
    """The chunks are there; `stored` of them were not before."""

    position: int
    stored: int
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class PayloadStored:
    """The payload is there."""

    position: int
    record: PayloadRecord
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Collected:
    """So many payloads and chunks are gone. `replayed`: there was nothing to remove."""

    position: int
    payloads: int
    chunks: int
    replayed: bool = False


PayloadEvent: TypeAlias = PayloadDecided | PayloadsCollected
PayloadOutcome: TypeAlias = ChunksStored | PayloadStored | Collected


class PayloadTables(Protocol):
    """The tables of payloads, their chunks, and the places of logs that refer to them."""

    def usage(self, namespace: str) -> PayloadUsage:
        """What the namespace's payloads take; nothing where it never had any."""
        ...

    def save_usage(self, usage: PayloadUsage) -> None:
        """Change it; nothing is kept where nothing is stored."""
        ...

    def payload(self, namespace: str, payload_id: bytes) -> PayloadRecord | None:
        """The payload of that id."""
        ...

    def manifest(self, record: PayloadRecord) -> bytes:
        """Of what chunks it is."""
        ...

    def add(self, record: PayloadRecord, manifest: bytes) -> None:
        """Keep a payload."""
        ...

    def save(self, record: PayloadRecord) -> None:
        """Change a payload's references, or when it was touched."""
        ...

    def remove(self, record: PayloadRecord) -> None:
        """Remove a payload, with its manifest."""
        ...

    def unreferenced(self, namespace: str, before_unix_ms: int, limit: int) -> Sequence[PayloadRecord]:
        """Payloads without a reference that were not touched since then, the longest untouched first."""
        ...

    def chunks(self, namespace: str, hashes: Collection[bytes]) -> Mapping[bytes, ChunkRecord]:
        """Those of these chunks that there are, by their hashes."""
        ...

    def add_chunk(self, namespace: str, digest: bytes, content: bytes, time_unix_ms: int) -> None:
        """Keep a chunk that no payload has yet."""
        ...

    def save_chunks(self, records: Sequence[ChunkRecord]) -> None:
        """Change chunks' holders, or when they were put."""
        ...

    def remove_chunks(self, records: Sequence[ChunkRecord]) -> None:
        """Remove chunks, with their contents."""
        ...

    def unheld(self, namespace: str, before_unix_ms: int, limit: int) -> Sequence[ChunkRecord]:
        """Chunks that no payload has and that were not put since then, the longest untouched first."""
        ...

    def add_reference(self, log_number: int, seq: int, position: int) -> bool:
        """A place of a log refers to the payload that was put first at `position`; False: it is known."""
        ...

    def remove_references_of_agent(self, namespace: str, agent: str) -> Mapping[bytes, int]:
        """Those of all logs of an agent: how many of each payload went, by its id."""
        ...

    def remove_references(self, log_number: int) -> Mapping[bytes, int]:
        """Those of a log: as above."""
        ...

    def remove_references_below(self, log_number: int, seq: int, staying: Collection[int]) -> Mapping[bytes, int]:
        """Those of a log before a seq, but for the seqs that stay: as above."""
        ...
