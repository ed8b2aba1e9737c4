"""The tables of schemas and of the versions that states follow, their rows to and from core's records, and the bodies
of the events of schemas.

Rules of this file:
- A row is believed once its sum is checked; a document once its hash is, which the sum covers in its place.
- A log has a row for each seq at which the version of its state changed: so what held at any seq can be told, which is
  what a branch sees of the past it shares.
"""

from __future__ import annotations

import hashlib
from typing import Final

import orjson

from tallystick_node.core.schema_records import (
    Compatibility,
    SchemaOf,
    SchemaRecord,
    SchemaRegistered,
    StateSchema,
    Subject,
)
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.sql import Row, Sql, Value
from tallystick_node.storage.sums import check_sum, row_sum

REGISTRY_TABLES: Final = (
    """CREATE TABLE schemas (
        namespace TEXT NOT NULL, of INTEGER NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,
        position INTEGER NOT NULL, document BLOB NOT NULL, hash BLOB NOT NULL, compatibility INTEGER NOT NULL,
        actor TEXT NOT NULL, time_unix_ms INTEGER NOT NULL, sum INTEGER NOT NULL,
        PRIMARY KEY (namespace, of, name, version)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE state_versions (
        log INTEGER NOT NULL, seq INTEGER NOT NULL, prefix TEXT NOT NULL, version INTEGER NOT NULL,
        sum INTEGER NOT NULL,
        PRIMARY KEY (log, seq)) STRICT, WITHOUT ROWID""",
)
"""What format 4 has of schemas."""

_COLUMNS: Final = "position, namespace, of, name, version, document, hash, compatibility, actor, time_unix_ms, sum"

SCHEMA_SELECT: Final = f"SELECT {_COLUMNS} FROM schemas"  # noqa: S608
"""Begins a statement whose rows `schema_of` reads."""

REGISTERED_SELECT: Final = SCHEMA_SELECT.replace("document, ", "")
"""The same without the documents: what the sum covers, for `registered_of`."""

SCHEMA_INSERT: Final = f"INSERT INTO schemas ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608

STATE_VERSION_SELECT: Final = "SELECT log, seq, prefix, version, sum FROM state_versions"
"""Begins a statement whose rows `state_version_of` reads."""

STATE_VERSION_INSERT: Final = "INSERT INTO state_versions VALUES (?, ?, ?, ?, ?)"


def schema_of(sql: Sql, row: Row) -> SchemaRecord:
    """A version of a schema. Raises DatabaseDamaged where it is not what was written."""
    *columns, stored = row
    position, namespace, of, name, version, document, hash_, compatibility, *rest = columns
    check_sum(sql.path, "a schema", stored, position, namespace, of, name, version, hash_, compatibility, *rest)
    if type(document) is not bytes or hashlib.sha256(document).digest() != hash_:
        raise DatabaseDamaged(sql.path, "the document of a schema is not what was written")
    subject = Subject(SchemaOf(of), name)
    return SchemaRecord(position, namespace, subject, version, document, hash_, Compatibility(compatibility), *rest)


def schema_row(record: SchemaRecord) -> tuple[Value, ...]:
    """As the table has it."""
    head = (record.position, record.namespace, int(record.subject.of), record.subject.name, record.version)
    tail = (record.hash, int(record.compatibility), record.actor, record.time_unix_ms)
    return (*head, record.document, *tail, row_sum(*head, *tail))


def registered_of(sql: Sql, row: Row) -> tuple[str, Subject, int, int]:
    """Namespace, subject, version and position of a row of `REGISTERED_SELECT`. Raises as `schema_of`."""
    *columns, stored = row
    check_sum(sql.path, "a schema", stored, *columns)
    position, namespace, of, name, version, *_ = columns
    return namespace, Subject(SchemaOf(of), name), version, position


def state_version_of(sql: Sql, row: Row) -> tuple[int, int, StateSchema]:
    """The log, the seq from which on it holds, and what its state follows. Raises as `schema_of`."""
    *columns, stored = row
    check_sum(sql.path, "the version of a state", stored, *columns)
    log, seq, prefix, version = columns
    return log, seq, StateSchema(prefix, version)


def state_version_row(log_number: int, seq: int, schema: StateSchema) -> tuple[Value, ...]:
    """As the table has it."""
    row = (log_number, seq, schema.prefix, schema.version)
    return (*row, row_sum(*row))


def registered_body(event: SchemaRegistered) -> bytes:
    """What such an event has beside what all events have."""
    return orjson.dumps([event.namespace, int(event.subject.of), event.subject.name, int(event.compatibility)])


def schema_registered_of(
    position: int, version: int, time_unix_ms: int, actor: str, hash_: bytes, body: bytes
) -> SchemaRegistered:
    """The event of a row whose sum was checked."""
    namespace, of, name, compatibility = orjson.loads(body)
    subject = Subject(SchemaOf(of), name)
    return SchemaRegistered(
        position, namespace, subject, version, Compatibility(compatibility), hash_, time_unix_ms, actor
    )
