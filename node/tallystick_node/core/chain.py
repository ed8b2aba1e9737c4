"""The hashes: one chain for each log, one running digest over everything decided.

Rules of this file:
- hash of a mutation = SHA-256(predecessor's hash (empty for seq 1) || seq u64 || time_ms u64 || length of actor u32 ||
  actor || raw mutation), big-endian.
- digest after an entry = SHA-256(digest before || index u64 || for each event: position u64 || its hash). An entry
  without events leaves it as it is. Replicas at one index have one digest.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from typing import Final, assert_never

from tallystick_node.core.outcomes import (
    AgentDeleted,
    AgentEvent,
    Applied,
    BranchDeleted,
    BranchForked,
    CheckpointTaken,
    ContextDecided,
    Event,
    LeaseDecided,
    MutationDecided,
    TeamCheckpointDeleted,
    TeamCheckpointTaken,
    WritersAllocated,
)
from tallystick_node.core.payload_records import PayloadDecided, PayloadsCollected
from tallystick_node.core.retention_records import CheckpointPinned, LogCompacted, RetentionSet
from tallystick_node.core.schema_records import SchemaRegistered

NO_HASH: Final = b""
"""The hash at seq 0."""

START_DIGEST: Final = bytes(32)
"""The digest before the first entry."""

_pack_mutation: Final = struct.Struct(">QQI").pack
_pack_u64: Final = struct.Struct(">Q").pack
_pack_u32: Final = struct.Struct(">I").pack


def hash_mutation(previous: bytes, seq: int, time_unix_ms: int, actor: bytes, raw: bytes) -> bytes:
    """The hash of a mutation, 32 bytes. `actor` is in UTF-8."""
    head = _pack_mutation(seq, time_unix_ms, len(actor))
    return hashlib.sha256(b"".join((previous, head, actor, raw))).digest()


def extend_digest(digest: bytes, index: int, applied: Iterable[Applied]) -> bytes:
    """The running digest after the entry at `index`."""
    events = [event for each in applied for event in each.events]
    if not events:
        return digest
    running = hashlib.sha256(digest + _pack_u64(index))
    for event in events:
        running.update(_pack_u64(event.position) + _hash_event(event))
    return running.digest()


def _hash_event(event: Event) -> bytes:
    match event:
        case MutationDecided():
            return event.hash
        case CheckpointTaken():
            parts = (event.name.encode(), event.metadata, event.pending_calls, event.state_digest, event.hash)
            read = (event.observed,) if event.observed else ()  # an older build knows of none
            return _hash_parts(b"checkpoint", event, (_pack_u64(event.step), *parts, *read))
        case AgentDeleted():
            return _hash_parts(b"deleted", event, ())
        case BranchForked():
            return _hash_parts(b"forked", event, (event.parent.encode(), event.hash))
        case BranchDeleted():
            return _hash_parts(b"branch deleted", event, ())
        case LeaseDecided():
            lease = b"lease" + _pack_u32(event.change) + _pack_u64(event.epoch) + _pack_u64(event.ttl_ms)
            names = (*event.target, event.holder, event.actor)
            return hash_parts(lease + _pack_u64(event.time_unix_ms), *(name.encode() for name in names))
        case ContextDecided():
            words = (event.namespace.encode(), event.name.encode(), event.actor.encode(), event.version.encode())
            head = b"context" + _pack_u32(event.change) + _pack_u64(event.epoch) + _pack_u64(event.time_unix_ms)
            return hash_parts(head, *words, event.guid, event.hash)
        case TeamCheckpointTaken():
            head = b"team" + _pack_u64(event.agents) + _pack_u64(event.time_unix_ms)
            return hash_parts(head, event.namespace.encode(), event.name.encode(), event.actor.encode(), event.hash)
        case TeamCheckpointDeleted():
            head = b"team deleted" + _pack_u64(event.taken) + _pack_u64(event.time_unix_ms)
            return hash_parts(head, event.namespace.encode(), event.name.encode(), event.actor.encode())
        case SchemaRegistered():
            head = b"schema" + _pack_u32(event.subject.of) + _pack_u64(event.version) + _pack_u32(event.compatibility)
            head += _pack_u64(event.time_unix_ms)
            return hash_parts(
                head, event.namespace.encode(), event.subject.name.encode(), event.actor.encode(), event.hash
            )
        case WritersAllocated():
            head = b"writers" + _pack_u64(event.first) + _pack_u64(event.count) + _pack_u64(event.time_unix_ms)
            return hash_parts(head, event.namespace.encode(), event.actor.encode())
        case PayloadDecided():
            head = b"payload" + _pack_u32(event.change) + _pack_u64(event.size_bytes) + _pack_u64(event.time_unix_ms)
            return hash_parts(head, event.namespace.encode(), event.actor.encode(), event.hash)
        case PayloadsCollected():
            head = b"collected" + _pack_u64(event.payloads) + _pack_u64(event.chunks) + _pack_u64(event.time_unix_ms)
            return hash_parts(head, event.namespace.encode(), event.actor.encode(), event.hash)
        case LogCompacted():
            counts = _pack_u64(event.mutations) + _pack_u64(event.checkpoints)
            return _hash_parts(b"compacted", event, (event.hash, event.state_digest, counts))
        case CheckpointPinned():
            return _hash_parts(b"pinned" if event.is_pinned else b"unpinned", event, (event.name.encode(),))
        case RetentionSet():
            age_s, mutations, size_bytes, archive = event.policy
            head = b"retention" + _pack_u64(age_s) + _pack_u64(mutations) + _pack_u64(size_bytes)
            head += _pack_u64(event.time_unix_ms)
            return hash_parts(head, event.namespace.encode(), archive.encode(), event.actor.encode())
    assert_never(event)


def hash_parts(head: bytes, *parts: bytes) -> bytes:
    """SHA-256 of the head and of the parts, each with its length before it."""
    running = hashlib.sha256(head)
    for part in parts:
        running.update(_pack_u32(len(part)) + part)
    return running.digest()


def _hash_parts(kind: bytes, event: AgentEvent, parts: tuple[bytes, ...]) -> bytes:
    names = tuple(name.encode() for name in (*event.target, event.actor))
    return hash_parts(kind + _pack_mutation(event.seq, event.time_unix_ms, 0), *names, *parts)
