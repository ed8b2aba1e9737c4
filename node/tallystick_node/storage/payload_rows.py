"""The tables of payloads, their rows to and from core's records, and the bodies of their events.

Rules of this file:
- A row is believed once its sum is checked. What a chunk holds is believed for its hash, which the chunk's row has.
- A manifest and a chunk's content stand in tables of their own: a row that is changed is written whole.
- The numbers of chunks are these tables' own.
"""

from __future__ import annotations

import hashlib
from typing import Final

import orjson

from tallystick_node.core.manifests import payload_id
from tallystick_node.core.payload_records import (
    ChunkRecord,
    PayloadChange,
    PayloadDecided,
    PayloadRecord,
    PayloadsCollected,
    PayloadUsage,
)
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.sql import Row, Sql, Value
from tallystick_node.storage.sums import check_sum, chunk_sum, row_sum, step_sum

PAYLOAD_TABLES: Final = (
    """CREATE TABLE payload_usage (
        namespace TEXT PRIMARY KEY, stored_bytes INTEGER NOT NULL, sum INTEGER NOT NULL) STRICT, WITHOUT ROWID""",
    """CREATE TABLE payloads (
        position INTEGER PRIMARY KEY,
        namespace TEXT NOT NULL, id BLOB NOT NULL, size_bytes INTEGER NOT NULL, chunks INTEGER NOT NULL,
        refs INTEGER NOT NULL, created_unix_ms INTEGER NOT NULL, touched_unix_ms INTEGER NOT NULL,
        actor TEXT NOT NULL, sum INTEGER NOT NULL,
        UNIQUE (namespace, id)) STRICT""",
    "CREATE INDEX unreferenced_payloads ON payloads (namespace, touched_unix_ms, position) WHERE refs = 0",
    """CREATE TABLE manifests (
        position INTEGER PRIMARY KEY, manifest BLOB NOT NULL, sum INTEGER NOT NULL) STRICT""",
    """CREATE TABLE chunks (
        number INTEGER PRIMARY KEY,
        namespace TEXT NOT NULL, hash BLOB NOT NULL, size_bytes INTEGER NOT NULL, holders INTEGER NOT NULL,
        touched_unix_ms INTEGER NOT NULL, sum INTEGER NOT NULL,
        UNIQUE (namespace, hash)) STRICT""",
    "CREATE INDEX unheld_chunks ON chunks (namespace, touched_unix_ms, number) WHERE holders = 0",
    "CREATE TABLE chunk_contents (number INTEGER PRIMARY KEY, content BLOB NOT NULL, sum INTEGER NOT NULL) STRICT",
    """CREATE TABLE payload_refs (
        log INTEGER NOT NULL, seq INTEGER NOT NULL, payload INTEGER NOT NULL, sum INTEGER NOT NULL,
        PRIMARY KEY (log, seq, payload)) STRICT, WITHOUT ROWID""",
)
"""What format 4 has of payloads."""

PAYLOAD_SELECT: Final = (
    "SELECT position, namespace, id, size_bytes, chunks, refs, created_unix_ms, touched_unix_ms, actor, sum"
    " FROM payloads"
)
"""Begins a statement whose rows `payload_of` reads. The partial index wants `refs = 0` where none refers."""

CHUNK_SELECT: Final = "SELECT number, namespace, hash, size_bytes, holders, touched_unix_ms, sum FROM chunks"
"""Begins a statement whose rows `chunk_of` reads. The partial index wants `holders = 0` in those of unheld ones."""

USAGE_SELECT: Final = "SELECT namespace, stored_bytes, sum FROM payload_usage"
"""Begins a statement whose rows `usage_of` reads."""

PAYLOAD_UPSERT: Final = "INSERT OR REPLACE INTO payloads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
CHUNK_INSERT: Final = "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?)"
CHUNK_UPDATE: Final = "UPDATE chunks SET holders = ?, touched_unix_ms = ?, sum = ? WHERE number = ?"


def payload_of(sql: Sql, row: Row) -> PayloadRecord:
    """A payload. Raises DatabaseDamaged where it is not what was written, as all here."""
    *columns, stored = row
    check_sum(sql.path, "the record of a payload", stored, *columns)
    return PayloadRecord(*columns)


def payload_row(record: PayloadRecord) -> tuple[Value, ...]:
    """As the table has it."""
    return (*record, row_sum(*record))


def chunk_of(sql: Sql, row: Row) -> ChunkRecord:
    """A chunk without its content."""
    columns, stored = row[:-1], row[-1]
    try:
        is_sound = chunk_sum(columns) == stored
    except (TypeError, AttributeError):  # damage changed a type
        is_sound = False
    if not is_sound:
        raise DatabaseDamaged(sql.path, "the record of a chunk is not what was written")
    return ChunkRecord._make(columns)


def chunk_row(record: ChunkRecord) -> tuple[Value, ...]:
    """As the table has it."""
    return (*record, chunk_sum(record))


def chunk_update(record: ChunkRecord) -> tuple[Value, ...]:
    """What `CHUNK_UPDATE` wants."""
    return (record.holders, record.touched_unix_ms, chunk_sum(record), record.number)


def content_of(sql: Sql, row: Row | None, digest: bytes) -> bytes:
    """What is in the chunk of that hash, from a row of `chunk_contents`: number, content, sum."""
    if row is None or type(row[1]) is not bytes or hashlib.sha256(row[1]).digest() != digest:
        raise DatabaseDamaged(sql.path, f"chunk {digest.hex()} lacks its content")
    check_sum(sql.path, "the content of a chunk", row[2], row[0], row[1])
    content: bytes = row[1]
    return content


def manifest_of(sql: Sql, row: Row | None, record: PayloadRecord) -> bytes:
    """The manifest of a payload, from a row of `manifests`: position, manifest, sum."""
    if row is None or type(row[1]) is not bytes or payload_id(row[1]) != record.id:
        raise DatabaseDamaged(sql.path, f"payload {record.id.hex()} lacks its manifest")
    check_sum(sql.path, "a manifest", row[2], row[0], row[1])
    manifest: bytes = row[1]
    return manifest


def usage_of(sql: Sql, row: Row) -> PayloadUsage:
    """What the payloads of a namespace take."""
    *columns, stored = row
    check_sum(sql.path, "what payloads take", stored, *columns)
    return PayloadUsage(*columns)


def usage_row(usage: PayloadUsage) -> tuple[Value, ...]:
    """As the table has it."""
    return (*usage, row_sum(*usage))


def reference_row(log_number: int, seq: int, position: int) -> tuple[Value, ...]:
    """That a place of a log refers to a payload, as the table has it."""
    row = (log_number, seq, position)
    return (*row, step_sum(row))


def check_reference(sql: Sql, row: Row) -> tuple[int, int, int]:
    """Log, seq and payload of a row of `payload_refs`."""
    log, seq, position, stored = row
    if step_sum((log, seq, position)) != stored:
        raise DatabaseDamaged(sql.path, "a reference to a payload is not what was written")
    return log, seq, position


def payload_body(event: PayloadDecided) -> bytes:
    """What such an event has beside what all events have; `seq` holds its chunks."""
    return orjson.dumps([int(event.change), event.namespace, event.size_bytes])


def payload_decided_of(
    position: int, chunks: int, time_unix_ms: int, actor: str, hash_: bytes, body: bytes
) -> PayloadDecided:
    """The event of a row whose sum was checked."""
    change, namespace, size_bytes = orjson.loads(body)
    return PayloadDecided(position, PayloadChange(change), namespace, hash_, chunks, size_bytes, time_unix_ms, actor)


def collected_body(event: PayloadsCollected) -> bytes:
    """As `payload_body`; `seq` holds the payloads."""
    return orjson.dumps([event.namespace, event.chunks])


def payloads_collected_of(
    position: int, payloads: int, time_unix_ms: int, actor: str, hash_: bytes, body: bytes
) -> PayloadsCollected:
    """The event of a row whose sum was checked."""
    namespace, chunks = orjson.loads(body)
    return PayloadsCollected(position, namespace, hash_, payloads, chunks, time_unix_ms, actor)
