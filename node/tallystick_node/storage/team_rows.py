"""The table of cuts through teams, its rows to and from core's records, and the bodies of their events.

Rules of this file:
- A row is believed once its sum is checked.
- What a cut binds stands in one column: it is read whole, and never changes.
"""

from __future__ import annotations

from typing import Final

import orjson

from tallystick_node.core.commands import SeenContext
from tallystick_node.core.outcomes import TeamCheckpointDeleted, TeamCheckpointRecord, TeamCheckpointTaken, TeamMember
from tallystick_node.storage.sql import Row, Sql, Value
from tallystick_node.storage.sums import check_sum, row_sum

TEAM_TABLES: Final = (
    """CREATE TABLE team_checkpoints (
        position INTEGER PRIMARY KEY,
        namespace TEXT NOT NULL, name TEXT NOT NULL, prefix TEXT, branch TEXT NOT NULL, actor TEXT NOT NULL,
        time_unix_ms INTEGER NOT NULL, fingerprint BLOB NOT NULL, hash BLOB NOT NULL, metadata BLOB NOT NULL,
        bound BLOB NOT NULL, sum INTEGER NOT NULL,
        UNIQUE (namespace, name)) STRICT""",
    "CREATE INDEX team_checkpoints_by_position ON team_checkpoints (namespace, position)",
    "CREATE INDEX events_of_deleted_cuts ON events (seq) WHERE kind = 17",  # by where the cut was taken
)
"""What format 4 has of teams."""

TEAM_SELECT: Final = (
    "SELECT position, namespace, name, prefix, branch, actor, time_unix_ms, fingerprint, hash, metadata, bound, sum"
    " FROM team_checkpoints"
)
"""Begins a statement whose rows `team_checkpoint_of` reads."""

_MEMBER_BYTES: Final = 256

CUT_INSERT: Final = "INSERT INTO cut_points VALUES (?, ?, ?, ?, ?, ?, ?)"

TEAM_INSERT: Final = "INSERT INTO team_checkpoints VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def team_checkpoint_of(sql: Sql, row: Row) -> TeamCheckpointRecord:
    """A cut. Raises DatabaseDamaged where it is not what was written."""
    *columns, bound, stored = row
    check_sum(sql.path, "a team's checkpoint", stored, *columns, bound)
    position, namespace, name, prefix, branch, actor, time_unix_ms, fingerprint, hash_, metadata = columns
    members, contexts = orjson.loads(bound)
    return TeamCheckpointRecord(
        position,
        namespace,
        name,
        prefix,
        branch,
        actor,
        time_unix_ms,
        fingerprint,
        hash_,
        metadata,
        members=tuple([_member(*member) for member in members]),
        contexts=tuple([SeenContext(context, bytes.fromhex(cursor)) for context, cursor in contexts]),
    )


def team_row(record: TeamCheckpointRecord) -> tuple[Value, ...]:
    """As the table has it."""
    row = (
        record.position,
        record.namespace,
        record.name,
        record.prefix,
        record.branch,
        record.actor,
        record.time_unix_ms,
        record.fingerprint,
        record.hash,
        record.metadata,
        _bound(record),
    )
    return (*row, row_sum(*row))


def cut_rows(record: TeamCheckpointRecord) -> list[tuple[Value, ...]]:
    """What a cut binds, log by log, as `cut_points` has it."""
    rows = [
        (record.namespace, member.agent, member.branch, member.seq, record.position, member.hash)
        for member in record.members
    ]
    return [(*row, row_sum(*row)) for row in rows]


def team_checkpoint_bytes(record: TeamCheckpointRecord) -> int:
    """What a cut counts for where pages are bounded by bytes, roughly."""
    cursors = sum(len(context.cursor) for context in record.contexts)
    return len(record.metadata) + _MEMBER_BYTES * len(record.members) + cursors


def team_body(event: TeamCheckpointTaken | TeamCheckpointDeleted) -> bytes:
    """What such an event has beside what all events have."""
    return orjson.dumps([event.namespace, event.name])


def team_checkpoint_taken_of(
    position: int, agents: int, time_unix_ms: int, actor: str, hash_: bytes, body: bytes
) -> TeamCheckpointTaken:
    """The event of a row whose sum was checked."""
    namespace, name = orjson.loads(body)
    return TeamCheckpointTaken(position, namespace, name, agents, time_unix_ms, actor, hash_)


def team_checkpoint_deleted_of(
    position: int, taken: int, time_unix_ms: int, actor: str, body: bytes
) -> TeamCheckpointDeleted:
    """The event of a row whose sum was checked."""
    namespace, name = orjson.loads(body)
    return TeamCheckpointDeleted(position, namespace, name, taken, time_unix_ms, actor)


def _member(agent: str, branch: str, seq: int, hash_: str, digest: str) -> TeamMember:
    return TeamMember(agent, branch, seq, bytes.fromhex(hash_), bytes.fromhex(digest))


def _bound(record: TeamCheckpointRecord) -> bytes:
    members = [[agent, branch, seq, hash_.hex(), digest.hex()] for agent, branch, seq, hash_, digest in record.members]
    return orjson.dumps([members, [[name, cursor.hex()] for name, cursor in record.contexts]])
