"""The table of leases, its rows to and from core's records, and the events of leases.

Rules of this file:
- A row is believed once its sum is checked.
- What these events have beside what all events have stands in their body, so they outlive the agent; `events.log` is 0.
"""

from __future__ import annotations

from typing import Final

import orjson

from tallystick_node.core.commands import Target
from tallystick_node.core.outcomes import LeaseChange, LeaseDecided, LeaseRecord
from tallystick_node.storage.sql import Row, Sql, Value
from tallystick_node.storage.sums import check_sum, row_sum

LEASE_TABLES: Final = (
    """CREATE TABLE leases (
        namespace TEXT NOT NULL, agent TEXT NOT NULL, branch TEXT NOT NULL,
        epoch INTEGER NOT NULL, holder TEXT NOT NULL, ttl_ms INTEGER NOT NULL, change INTEGER NOT NULL,
        mark INTEGER NOT NULL, acquired_unix_ms INTEGER NOT NULL, changed_unix_ms INTEGER NOT NULL,
        position INTEGER NOT NULL, sum INTEGER NOT NULL,
        PRIMARY KEY (namespace, agent, branch)) STRICT, WITHOUT ROWID""",
    "CREATE INDEX held_leases ON leases (namespace, agent, branch) WHERE change = 1",
)
"""What format 4 has of leases."""

LEASE_SELECT: Final = (
    "SELECT namespace, agent, branch, epoch, holder, ttl_ms, change, mark, acquired_unix_ms, changed_unix_ms,"
    " position, sum FROM leases"
)
"""Begins a statement whose rows `lease_of` reads. The partial index wants `change = 1` in each that is of held ones."""

LEASE_UPSERT: Final = "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def lease_of(sql: Sql, row: Row) -> LeaseRecord:
    """A lease. Raises DatabaseDamaged where it is not what was written."""
    *columns, stored = row
    check_sum(sql.path, "the record of a lease", stored, *columns)
    namespace, agent, branch, epoch, holder, ttl_ms, change, *rest = columns
    return LeaseRecord(Target(namespace, agent, branch), epoch, holder, ttl_ms, LeaseChange(change), *rest)


def lease_row(record: LeaseRecord) -> tuple[Value, ...]:
    """As the table has it."""
    row = (
        *record.target,
        record.epoch,
        record.holder,
        record.ttl_ms,
        int(record.change),
        record.mark,
        record.acquired_unix_ms,
        record.changed_unix_ms,
        record.position,
    )
    return (*row, row_sum(*row))


def lease_body(event: LeaseDecided) -> bytes:
    """What such an event has beside what all events have: the change first (`lease_verify.py` counts by it)."""
    return orjson.dumps([int(event.change), *event.target, event.holder, event.ttl_ms])


def lease_decided_of(position: int, epoch: int, time_unix_ms: int, actor: str, body: bytes) -> LeaseDecided:
    """The event of a row whose sum was checked."""
    change, namespace, agent, branch, holder, ttl_ms = orjson.loads(body)
    target = Target(namespace, agent, branch)
    return LeaseDecided(position, target, LeaseChange(change), epoch, holder, ttl_ms, time_unix_ms, actor)
