"""The rows of shared contexts, to and from core's records.

Rules of this file:
- A row is believed once its sum is checked; that of a version covers all but its content, which its digest covers.
- What these events have beside what all events have stands in their body, so they outlive the document.
"""

from __future__ import annotations

import hashlib
from dataclasses import astuple
from typing import Final

import orjson

from tallystick_node.core.commands import Target
from tallystick_node.core.outcomes import (
    ContextChange,
    ContextDecided,
    ContextRecord,
    VersionRecord,
    WritersAllocated,
)
from tallystick_node.core.tables import Deletion
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.sql import Row, Sql, Value
from tallystick_node.storage.sums import check_sum, row_sum

CONTEXT_SELECT: Final = (
    "SELECT guid, namespace, name, epoch, seal, actor, time_unix_ms, changed_unix_ms, position, fingerprint, schema,"
    " sum FROM contexts"
)
"""Begins a statement whose rows `context_of` reads."""

DELETION_SELECT: Final = "SELECT position, namespace, name, guid, sum FROM context_deletions"
"""Begins a statement whose rows `deletion_of` reads."""

VERSION_SELECT: Final = (
    "SELECT position, guid, name, epoch, cursor, namespace, agent, branch, checkpoint, actor, time_unix_ms, digest,"
    " size_bytes, sum FROM versions"
)
"""Begins a statement whose rows `version_of` reads."""

WRITERS_SELECT: Final = "SELECT first, count, namespace, actor, position, sum FROM writers"
"""Begins a statement whose rows `writers_of` reads."""

_NO_TARGET: Final = ("", "", "")


def context_of(sql: Sql, row: Row) -> ContextRecord:
    """A document. Raises DatabaseDamaged where it is not what was written, as all here."""
    *columns, stored = row
    check_sum(sql.path, "the record of a context", stored, *columns)
    return ContextRecord(*columns)


def context_row(record: ContextRecord) -> tuple[Value, ...]:
    """As the table has it."""
    return _summed(astuple(record))


def deletion_of(sql: Sql, row: Row) -> Deletion:
    """A deletion."""
    *columns, stored = row
    check_sum(sql.path, "the deletion of a context", stored, *columns)
    return Deletion(*columns)


def deletion_row(deletion: Deletion) -> tuple[Value, ...]:
    """As the table has it."""
    return _summed(astuple(deletion))


def version_of(sql: Sql, row: Row) -> VersionRecord:
    """A version, without its content."""
    *columns, stored = row
    check_sum(sql.path, "a version of a context", stored, *columns)
    position, guid, name, epoch, cursor, *target = columns[:8]
    named = Target(*target) if tuple(target) != _NO_TARGET else None
    return VersionRecord(position, guid, name, epoch, cursor, named, *columns[8:])


def version_row(version: VersionRecord, content: bytes) -> tuple[Value, ...]:
    """As the table has it."""
    columns: tuple[Value, ...] = (
        version.position,
        version.guid,
        version.name,
        version.epoch,
        version.cursor,
        *(version.target or _NO_TARGET),
        version.checkpoint,
        version.actor,
        version.time_unix_ms,
        version.digest,
        version.size_bytes,
    )
    return (*columns, content, row_sum(*columns))


def check_content(sql: Sql, version: VersionRecord, content: bytes) -> bytes:
    """The content of a version, once it is what was written."""
    if type(content) is not bytes or hashlib.sha256(content).digest() != version.digest:
        raise DatabaseDamaged(sql.path, f"the content of the version at position {version.position} is another")
    return content


def writers_of(sql: Sql, row: Row) -> tuple[int, int, str, str, int]:
    """A block of writer ids: first, count, namespace, actor, position."""
    first, count, namespace, actor, position, stored = row
    check_sum(sql.path, "a block of writers", stored, first, count, namespace, actor, position)
    return first, count, namespace, actor, position


def writers_row(event: WritersAllocated) -> tuple[Value, ...]:
    """As the table has it."""
    return _summed((event.first, event.count, event.namespace, event.actor, event.position))


def base_row(guid: bytes, epoch: int, base: bytes) -> tuple[Value, ...]:
    """As the table has it."""
    return _summed((guid, epoch, base))


def event_body(event: ContextDecided | WritersAllocated) -> bytes:
    """What such an event has beside what all events have."""
    if isinstance(event, ContextDecided):
        return orjson.dumps([int(event.change), event.namespace, event.name, event.guid.hex(), event.version])
    return orjson.dumps([event.namespace, event.count])


def context_decided_of(
    position: int, epoch: int, time_unix_ms: int, actor: str, hash_: bytes, body: bytes
) -> ContextDecided:
    """The event of a row whose sum was checked."""
    change, namespace, name, guid, version = orjson.loads(body)
    return ContextDecided(
        position,
        ContextChange(change),
        namespace,
        name,
        bytes.fromhex(guid),
        epoch,
        time_unix_ms,
        actor,
        hash_,
        version,
    )


def writers_allocated_of(position: int, first: int, time_unix_ms: int, actor: str, body: bytes) -> WritersAllocated:
    """The event of a row whose sum was checked."""
    namespace, count = orjson.loads(body)
    return WritersAllocated(position, namespace, first, count, time_unix_ms, actor)


def _summed(row: tuple[Value, ...]) -> tuple[Value, ...]:
    return (*row, row_sum(*row))
