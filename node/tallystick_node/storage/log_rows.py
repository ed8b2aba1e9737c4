"""The records of logs, from their rows and to them.

Rules of this file:
- A row is believed once its sum is checked; that of a branch, together with where it began.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tallystick_node.core.commands import MAIN, Target
from tallystick_node.core.tables import LogRecord
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.hot_logs import StoredLog
from tallystick_node.storage.snapshots import Marks
from tallystick_node.storage.sql import Row, Sql, Value
from tallystick_node.storage.sums import check_sum, row_sum

LOG_UPSERT: Final = (
    "INSERT INTO logs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (number) DO UPDATE SET"
    " seq = excluded.seq, hash = excluded.hash, time_unix_ms = excluded.time_unix_ms, position = excluded.position,"
    " checkpoint = excluded.checkpoint, log_bytes = excluded.log_bytes, state_bytes = excluded.state_bytes,"
    " first_key = excluded.first_key, next_key = excluded.next_key, newest_seq = excluded.newest_seq,"
    " newest_cost = excluded.newest_cost, kept_seq = excluded.kept_seq, kept_cost = excluded.kept_cost,"
    " sum = excluded.sum"
)

LOG_SELECT: Final = (
    "SELECT l.number, l.namespace, l.agent, l.branch, l.seq, l.hash, l.time_unix_ms, l.position, l.checkpoint,"
    " l.log_bytes, l.state_bytes, l.first_key, l.next_key, l.newest_seq, l.newest_cost, l.kept_seq, l.kept_cost, l.sum,"
    " b.parent, b.fork_seq, b.fork_position, b.sum FROM logs AS l LEFT JOIN branches AS b ON b.log = l.number"
)
"""Begins a statement whose rows `log_of` reads."""

_COLUMNS: Final = 17
_RECORD_COLUMNS: Final = 9
"""Those of a record, behind its names."""


def log_of(sql: Sql, row: Row) -> StoredLog:
    """A log from a row of `LOG_SELECT`.

    Raises:
        DatabaseDamaged: it is not what was written.
    """
    columns, stored, began, began_sum = row[:_COLUMNS], row[_COLUMNS], row[_COLUMNS + 1 : -1], row[-1]
    number, namespace, agent, branch, *rest = columns
    check_sum(sql.path, f"the record of log {number}", stored, *columns)
    record = LogRecord(number, Target(namespace, agent, branch), *rest[:_RECORD_COLUMNS])
    marks = Marks(*rest[_RECORD_COLUMNS:])
    if branch == MAIN and began_sum is None:
        return StoredLog(record, marks)
    check_sum(sql.path, f"where log {number} began", began_sum, number, *began)
    if branch == MAIN:
        raise DatabaseDamaged(sql.path, f"log {number} is {MAIN!r}, and yet a branch")
    parent, fork_seq, fork_position = began
    return StoredLog(replace(record, parent=parent, fork_seq=fork_seq, fork_position=fork_position), marks)


def log_row(stored: StoredLog) -> tuple[Value, ...]:
    """As the table has it."""
    record = stored.record
    row = (
        record.number,
        *record.target,
        record.seq,
        record.hash,
        record.time_unix_ms,
        record.position,
        record.checkpoint,
        record.log_bytes,
        record.state_bytes,
        record.first_key,
        record.next_key,
        *stored.marks,
    )
    return (*row, row_sum(*row))
