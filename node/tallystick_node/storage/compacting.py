"""Removes the oldest mutations of a log from its tables; the anchor is in place, and the states that stay are kept.

Rules of this file:
- What a retry or a resume is answered from moves to `remains`: the mutation that ended a step, whole; one that a
  remembered key names, without its content. What nobody needs any more goes from there.
- A checkpoint that a remembered key names stays; that before the anchor cannot be read unless it is pinned.
"""

from __future__ import annotations

from typing import Final

from tallystick_node.core import limits
from tallystick_node.core.retention_records import Anchor
from tallystick_node.core.tables import LogRecord
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.events import MUTATION_SELECT, mutation_of
from tallystick_node.storage.observation_rows import forget_observations
from tallystick_node.storage.sql import Sql
from tallystick_node.storage.sums import check_sum, event_sum, names_of, row_sum

_MUTATION: Final = 1

_ENDS: Final = (
    "INSERT OR REPLACE INTO remains SELECT e.* FROM steps AS s JOIN events AS e ON e.position = s.ended_position"
    " WHERE s.log = ? AND s.ended_seq > 0 AND s.ended_seq <= ? AND e.kind = 1"
)
_KEYED: Final = (
    f"{MUTATION_SELECT} AND log = ? AND seq <= ?"  # noqa: S608
    " AND position IN (SELECT position FROM keys WHERE log = ?)"
    " AND position NOT IN (SELECT position FROM remains WHERE log = ?)"
)
_NEEDLESS: Final = (
    "DELETE FROM remains WHERE log = ? AND position NOT IN (SELECT position FROM keys WHERE log = ?)"
    " AND position NOT IN (SELECT ended_position FROM steps WHERE log = ?)"
)
_CHECKPOINTS: Final = (
    "SELECT position, name FROM checkpoints WHERE log = ? AND seq < ?"
    " AND position NOT IN (SELECT checkpoint FROM pins WHERE log = ?)"
    " AND position NOT IN (SELECT position FROM keys WHERE log = ?) ORDER BY seq, position LIMIT ?"
)


def compact(sql: Sql, log: LogRecord, anchor: Anchor) -> list[str]:
    """Remove what is before the log's new anchor; the names of the checkpoints that went."""
    number, seq = log.number, anchor.point.seq
    sql.execute(_ENDS, (number, seq))
    _keep_keyed(sql, log, seq)
    sql.execute(_NEEDLESS, (number, number, number))
    sql.execute("DELETE FROM events WHERE kind = 1 AND log = ? AND seq <= ?", (number, seq))
    sql.execute("DELETE FROM snapshots WHERE log = ? AND seq < ?", (number, seq))
    forget_observations(sql, number, seq)
    _note(sql, log.target.namespace, anchor.point.position)
    return _remove_checkpoints(sql, number, seq)


def _keep_keyed(sql: Sql, log: LogRecord, seq: int) -> None:
    rows = []
    for row in sql.rows(_KEYED, (log.number, seq, log.number, log.number)):
        position, _, at, time_unix_ms, actor, hash_, _ = mutation_of(sql, log.target, row)[:7]
        total = event_sum(position, log.number, _MUTATION, at, time_unix_ms, hash_, b"", names_of(actor, *log.target))
        rows.append((position, log.number, _MUTATION, at, time_unix_ms, actor, hash_, b"", total))
    sql.execute_many("INSERT INTO remains VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def _remove_checkpoints(sql: Sql, number: int, seq: int) -> list[str]:
    found = sql.rows(_CHECKPOINTS, (number, seq, number, number, limits.COMPACTED_MUTATIONS))
    positions = [(position,) for position, _ in found]
    sql.execute_many("DELETE FROM checkpoints WHERE position = ?", positions)
    sql.execute_many("DELETE FROM events WHERE position = ?", positions)
    return [name for _, name in found]


def _note(sql: Sql, namespace: str, position: int) -> None:
    """Remember the newest position of the namespace that went, for those who watch it."""
    if position > newest_gone(sql, namespace):
        row = (namespace, position)
        sql.execute("INSERT OR REPLACE INTO compacted VALUES (?, ?, ?)", (*row, row_sum(*row)))


def newest_gone(sql: Sql, namespace: str) -> int:
    """The position of the newest mutation of a namespace that went; 0: none did."""
    row = sql.row("SELECT * FROM compacted WHERE namespace = ?", (namespace,))
    if row is None:
        return 0
    found, position, stored = row
    check_sum(sql.path, "what went of a namespace", stored, found, position)
    if found != namespace:
        raise DatabaseDamaged(sql.path, "looking for what went of a namespace leads to another")
    return int(position)
