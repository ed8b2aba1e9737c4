"""Core's tables of steps and turns in SQLite. Each row is written at once: what is looked up next is often the newest.

Rules of this file:
- A row that a look-up leads to must be the one that was looked for.
- `lineage` alone knows that a log may share its past with another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tallystick_node.core.outcomes import StepRecord, TurnRecord
from tallystick_node.core.tables import LogRecord
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.lineage import lineage
from tallystick_node.storage.sql import MAX_INTEGER, Sql
from tallystick_node.storage.step_rows import (
    STEP_COLUMNS,
    STEP_UPSERT,
    TURN_SELECT,
    TURN_UPSERT,
    step_of,
    step_row,
    turn_of,
    turn_row,
)


class SqlStepTables:
    """An implementation of `tallystick_node.core.tables.StepTables`.

    Args:
        flush: writes the rows that gathered.
    """

    def __init__(self, sql: Sql, flush: Callable[[], None]) -> None:
        self._sql = sql
        self._flush = flush

    def lineage(self, log: LogRecord) -> Iterator[tuple[LogRecord, int]]:
        """The logs whose rows are this log's, its own first, each with the seq up to which it counts."""
        if not log.parent:
            yield log, MAX_INTEGER
            return
        self._flush()
        for stretch in lineage(self._sql, log):
            yield stretch.log, stretch.last_seq

    def newest(self, log: LogRecord, name: str) -> StepRecord | None:
        """See `StepTables`."""
        for link, up_to in self.lineage(log):
            row = self._sql.row(
                f"SELECT {STEP_COLUMNS} FROM steps AS s WHERE log = ? AND name = ? AND begun_seq <= ?"  # noqa: S608
                " ORDER BY attempt DESC LIMIT 1",
                (link.number, name, up_to),
            )
            if row is not None:
                found, record = step_of(self._sql, row, up_to)
                self._check("a step", (found, record.name) == (link.number, name))
                return record
        return None

    def save(self, log_number: int, record: StepRecord) -> None:
        """See `StepTables`."""
        self._sql.execute(STEP_UPSERT, step_row(log_number, record))

    def newest_turn(self, log: LogRecord) -> TurnRecord | None:
        """See `StepTables`."""
        for link, up_to in self.lineage(log):
            row = self._sql.row(
                f"{TURN_SELECT} WHERE log = ? AND begun_seq <= ? ORDER BY begun_seq DESC LIMIT 1", (link.number, up_to)
            )
            if row is not None:
                found, record = turn_of(self._sql, row, up_to)
                self._check("a turn", found == link.number)
                return record
        return None

    def save_turn(self, log_number: int, record: TurnRecord) -> None:
        """See `StepTables`."""
        self._sql.execute(TURN_UPSERT, turn_row(log_number, record))

    def last_turn_end(self, log: LogRecord) -> int:
        """The seq of the mutation that ended a turn last; 0: none was."""
        for link, up_to in self.lineage(log):
            row = self._sql.row(
                f"{TURN_SELECT} WHERE log = ? AND ended_seq > 0 AND ended_seq <= ? ORDER BY ended_seq DESC LIMIT 1",
                (link.number, up_to),
            )
            if row is not None:
                found, record = turn_of(self._sql, row, up_to)
                self._check("a turn", found == link.number and record.ended_seq > 0)
                return record.ended_seq
        return 0

    def _check(self, what: str, is_it: bool) -> None:
        if not is_it:
            raise DatabaseDamaged(self._sql.path, f"looking for {what} leads to another")
