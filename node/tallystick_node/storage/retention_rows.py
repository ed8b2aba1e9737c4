"""The tables of retention, their rows to and from core's records, and the bodies of their events.

Rules of this file:
- A row is believed once its sum is checked.
- `kept_states` has the states that are kept whole for good, of anchors, of pinned checkpoints and of cuts; `snapshots`
  those that only make reading quick.
- `remains` has what is left of mutations that went: rows of `events`, whole where they ended a step, without their
  content where only a remembered key is answered from them.
"""

from __future__ import annotations

import hashlib
from typing import Final

import orjson

from tallystick_node.core.commands import Target
from tallystick_node.core.retention_records import (
    Anchor,
    CheckpointPinned,
    KeptState,
    LogCompacted,
    Point,
    RetentionPolicy,
    RetentionRecord,
    RetentionSet,
)
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.sql import Row, Sql, Value
from tallystick_node.storage.sums import check_sum, row_sum

RETENTION_TABLES: Final = (
    """CREATE TABLE retention (
        namespace TEXT PRIMARY KEY,
        max_age_s INTEGER NOT NULL, max_mutations INTEGER NOT NULL, max_log_bytes INTEGER NOT NULL,
        archive TEXT NOT NULL, time_unix_ms INTEGER NOT NULL, position INTEGER NOT NULL, actor TEXT NOT NULL,
        sum INTEGER NOT NULL) STRICT""",
    """CREATE TABLE anchors (
        log INTEGER PRIMARY KEY,
        seq INTEGER NOT NULL, position INTEGER NOT NULL, time_unix_ms INTEGER NOT NULL, hash BLOB NOT NULL,
        digest BLOB NOT NULL, mutations INTEGER NOT NULL, size_bytes INTEGER NOT NULL,
        first_position INTEGER NOT NULL, compacted_position INTEGER NOT NULL, sum INTEGER NOT NULL) STRICT""",
    """CREATE TABLE kept_states (
        log INTEGER NOT NULL, seq INTEGER NOT NULL, position INTEGER NOT NULL, time_unix_ms INTEGER NOT NULL,
        hash BLOB NOT NULL, digest BLOB NOT NULL, state BLOB NOT NULL, sum INTEGER NOT NULL,
        UNIQUE (log, seq)) STRICT""",
    """CREATE TABLE pins (
        checkpoint INTEGER PRIMARY KEY, log INTEGER NOT NULL, position INTEGER NOT NULL, sum INTEGER NOT NULL)
        STRICT""",
    "CREATE INDEX pins_by_log ON pins (log)",
    """CREATE TABLE retention_events (
        position INTEGER PRIMARY KEY, log INTEGER NOT NULL, sum INTEGER NOT NULL) STRICT""",
    "CREATE INDEX retention_events_by_log ON retention_events (log)",
    """CREATE TABLE remains (
        position INTEGER PRIMARY KEY,
        log INTEGER NOT NULL, kind INTEGER NOT NULL, seq INTEGER NOT NULL, time_unix_ms INTEGER NOT NULL,
        actor TEXT NOT NULL, hash BLOB NOT NULL, body BLOB NOT NULL, sum INTEGER NOT NULL) STRICT""",
    "CREATE INDEX remains_by_log ON remains (log)",
    """CREATE TABLE cut_points (
        namespace TEXT NOT NULL, agent TEXT NOT NULL, branch TEXT NOT NULL, seq INTEGER NOT NULL,
        position INTEGER NOT NULL, hash BLOB NOT NULL, sum INTEGER NOT NULL,
        PRIMARY KEY (namespace, agent, branch, seq, position)) STRICT, WITHOUT ROWID""",
    "CREATE INDEX cut_points_by_position ON cut_points (position)",
    """CREATE TABLE compacted (
        namespace TEXT PRIMARY KEY, position INTEGER NOT NULL, sum INTEGER NOT NULL) STRICT""",
)
"""What format 4 has of retention.

`cut_points`: what the cuts through teams bind, by log, `position` that of the cut. `compacted`: the position of the
newest mutation of a namespace that went.
"""

ANCHOR_UPSERT: Final = "INSERT OR REPLACE INTO anchors VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
KEPT_UPSERT: Final = "INSERT OR REPLACE INTO kept_states VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
KEPT_SELECT: Final = "SELECT log, seq, position, time_unix_ms, hash, digest, sum, state FROM kept_states"
"""Begins a statement whose rows `kept_of` reads."""
POINT_SELECT: Final = "SELECT log, seq, position, time_unix_ms, hash, digest, sum FROM kept_states"
"""Begins a statement whose rows `point_of` reads."""
RETENTION_UPSERT: Final = "INSERT OR REPLACE INTO retention VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


def anchor_of(sql: Sql, row: Row) -> tuple[int, Anchor]:
    """A log's number, and its anchor. Raises DatabaseDamaged where it is not what was written, as all here."""
    *columns, stored = row
    check_sum(sql.path, "an anchor", stored, *columns)
    log, seq, position, time_unix_ms, hash_, digest, *rest = columns
    return log, Anchor(Point(seq, position, time_unix_ms, hash_), digest, *rest)


def anchor_row(log_number: int, anchor: Anchor) -> tuple[Value, ...]:
    """As the table has it."""
    point = anchor.point
    row = (
        log_number,
        point.seq,
        point.position,
        point.time_unix_ms,
        point.hash,
        anchor.digest,
        anchor.mutations,
        anchor.size_bytes,
        anchor.first_position,
        anchor.compacted_position,
    )
    return (*row, row_sum(*row))


def point_of(sql: Sql, row: Row) -> tuple[int, Point]:
    """A log's number, and a point of it whose state is kept."""
    *columns, stored = row
    check_sum(sql.path, "a state that is kept", stored, *columns)
    log, seq, position, time_unix_ms, hash_, _ = columns
    return log, Point(seq, position, time_unix_ms, hash_)


def kept_of(sql: Sql, row: Row) -> tuple[int, KeptState]:
    """A log's number, and a state of it."""
    *columns, state = row
    log, point = point_of(sql, tuple(columns))
    digest = columns[5]
    if type(state) is not bytes or hashlib.sha256(state).digest() != digest:
        raise DatabaseDamaged(sql.path, f"log {log}: the state kept of seq {point.seq} is not what was written")
    return log, KeptState(point, digest, state)


def kept_row(log_number: int, kept: KeptState) -> tuple[Value, ...]:
    """As the table has it. The digest covers the state, and the sum all else."""
    point = kept.point
    head = (log_number, point.seq, point.position, point.time_unix_ms, point.hash, kept.digest)
    return (*head, kept.state, row_sum(*head))


def retention_of(sql: Sql, row: Row) -> RetentionRecord:
    """The policy of a namespace."""
    *columns, stored = row
    check_sum(sql.path, "the retention of a namespace", stored, *columns)
    namespace, max_age_s, max_mutations, max_log_bytes, archive, time_unix_ms, position, actor = columns
    policy = RetentionPolicy(max_age_s, max_mutations, max_log_bytes, archive)
    return RetentionRecord(namespace, policy, time_unix_ms, position, actor)


def retention_row(record: RetentionRecord) -> tuple[Value, ...]:
    """As the table has it."""
    row = (record.namespace, *record.policy, record.time_unix_ms, record.position, record.actor)
    return (*row, row_sum(*row))


def retention_body(event: RetentionSet) -> bytes:
    """What such an event has beside what all events have."""
    return orjson.dumps([event.namespace, *event.policy])


def retention_set_of(position: int, time_unix_ms: int, actor: str, body: bytes) -> RetentionSet:
    """The event of a row whose sum was checked."""
    namespace, *policy = orjson.loads(body)
    return RetentionSet(position, namespace, RetentionPolicy(*policy), time_unix_ms, actor)


def compacted_body(event: LogCompacted) -> bytes:
    """As `retention_body`."""
    return orjson.dumps([event.state_digest.hex(), event.mutations, event.checkpoints])


def log_compacted_of(
    position: int, target: Target, seq: int, time_unix_ms: int, actor: str, hash_: bytes, body: bytes
) -> LogCompacted:
    """As `retention_set_of`."""
    digest, mutations, checkpoints = orjson.loads(body)
    return LogCompacted(
        position, target, seq, time_unix_ms, actor, hash_, bytes.fromhex(digest), mutations, checkpoints
    )


def pinned_body(event: CheckpointPinned) -> bytes:
    """As `retention_body`."""
    return orjson.dumps([event.name, event.is_pinned])


def checkpoint_pinned_of(
    position: int, target: Target, seq: int, time_unix_ms: int, actor: str, body: bytes
) -> CheckpointPinned:
    """As `retention_set_of`."""
    name, is_pinned = orjson.loads(body)
    return CheckpointPinned(position, target, seq, time_unix_ms, actor, name, is_pinned)
