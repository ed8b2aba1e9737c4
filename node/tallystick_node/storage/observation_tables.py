"""Core's table of observations in SQLite, written at once: they are few.

Rules of this file: a row that a look-up leads to must be one that was looked for.
"""

from __future__ import annotations

from tallystick_node.core.observation_records import Observation
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.observation_rows import (
    OBSERVATION_INSERT,
    OBSERVATION_SELECT,
    observation_of,
    observation_row,
)
from tallystick_node.storage.sql import MAX_INTEGER, Sql


class SqlObservationTables:
    """An implementation of `tallystick_node.core.observation_records.ObservationTables`."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def newest(self, log_number: int, other: int) -> Observation | None:
        """See `ObservationTables`."""
        return self.at(log_number, other, MAX_INTEGER)

    def add(self, observation: Observation) -> None:
        """See `ObservationTables`."""
        self._sql.execute(OBSERVATION_INSERT, observation_row(observation))

    def at(self, log_number: int, other: int, seq: int) -> Observation | None:
        """The newest of that other log up to a seq of the log."""
        row = self._sql.row(
            f"{OBSERVATION_SELECT} WHERE log = ? AND other = ? AND seq <= ? ORDER BY seq DESC LIMIT 1",
            (log_number, other, seq),
        )
        if row is None:
            return None
        found = observation_of(self._sql, row)
        if found[:2] != (log_number, other) or found.seq > seq:
            raise DatabaseDamaged(self._sql.path, f"looking for what log {log_number} read of {other} leads elsewhere")
        return found

    def next_other(self, log_number: int, after: int) -> int | None:
        """The lowest number above `after` of another log that this one ever read."""
        row = self._sql.row(
            "SELECT other FROM observations WHERE log = ? AND other > ? ORDER BY other LIMIT 1", (log_number, after)
        )
        return int(row[0]) if row is not None else None
