"""The tables of steps and turns, and their rows to and from core's records.

Rules of this file:
- A row is believed once its sum is checked.
- Each attempt and each turn has a row, so what stood at any seq of a log can be told: what a branch shares with its
  parent, it sees as it was where it began.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tallystick_node.core.outcomes import StepRecord, StepStatus, TurnRecord
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.sql import Row, Sql, Value
from tallystick_node.storage.sums import check_sum, row_sum, step_sum

STEP_TABLES: Final = (
    """CREATE TABLE steps (
        log INTEGER NOT NULL, name TEXT NOT NULL, attempt INTEGER NOT NULL, status INTEGER NOT NULL,
        first_position INTEGER NOT NULL, begun_seq INTEGER NOT NULL, begun_position INTEGER NOT NULL,
        begun_unix_ms INTEGER NOT NULL, actor TEXT NOT NULL, epoch INTEGER NOT NULL, ended_seq INTEGER NOT NULL,
        ended_position INTEGER NOT NULL, ended_unix_ms INTEGER NOT NULL, sum INTEGER NOT NULL,
        PRIMARY KEY (log, name, attempt)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE turns (
        log INTEGER NOT NULL, begun_seq INTEGER NOT NULL, begun_position INTEGER NOT NULL, ended_seq INTEGER NOT NULL,
        ended_position INTEGER NOT NULL, sum INTEGER NOT NULL,
        PRIMARY KEY (log, begun_seq)) STRICT, WITHOUT ROWID""",
    "CREATE INDEX ended_turns ON turns (log, ended_seq) WHERE ended_seq > 0",
)
"""What format 4 has of steps and turns."""

STEP_COLUMNS: Final = (
    "s.log, s.name, s.attempt, s.status, s.first_position, s.begun_seq, s.begun_position, s.begun_unix_ms, s.actor,"
    " s.epoch, s.ended_seq, s.ended_position, s.ended_unix_ms, s.sum"
)
"""What `step_of` reads."""

TURN_SELECT: Final = "SELECT log, begun_seq, begun_position, ended_seq, ended_position, sum FROM turns"
"""Begins a statement whose rows `turn_of` reads. The partial index wants `ended_seq > 0` in those of ended ones."""

_STATUSES: Final = {int(status): status for status in StepStatus}

STEP_UPSERT: Final = "INSERT OR REPLACE INTO steps VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
TURN_UPSERT: Final = "INSERT OR REPLACE INTO turns VALUES (?, ?, ?, ?, ?, ?)"


def step_of(sql: Sql, row: Row, up_to: int) -> tuple[int, StepRecord]:
    """The log of an attempt, and the attempt as it was where the log had come to `up_to`. Raises DatabaseDamaged where
    it is not what was written, as all here."""
    columns, stored = row[:-1], row[-1]
    if step_sum(columns) != stored:
        raise DatabaseDamaged(sql.path, "an attempt at a step is not what was written")
    log, name, attempt, status, *rest = columns
    record = StepRecord(name, attempt, _STATUSES[status], *rest)
    if record.ended_seq > up_to:
        record = record._replace(status=StepStatus.BEGUN, ended_seq=0, ended_position=0, ended_unix_ms=0)
    return log, record


def step_row(log_number: int, record: StepRecord) -> tuple[Value, ...]:
    """As the table has it."""
    row = (log_number, record.name, record.attempt, int(record.status), *record[3:])
    return (*row, step_sum(row))


def turn_of(sql: Sql, row: Row, up_to: int) -> tuple[int, TurnRecord]:
    """As `step_of`, of a turn."""
    *columns, stored = row
    check_sum(sql.path, "a turn", stored, *columns)
    log, *rest = columns
    record = TurnRecord(*rest)
    return log, replace(record, ended_seq=0, ended_position=0) if record.ended_seq > up_to else record


def turn_row(log_number: int, record: TurnRecord) -> tuple[Value, ...]:
    """As the table has it."""
    row = (log_number, record.begun_seq, record.begun_position, record.ended_seq, record.ended_position)
    return (*row, row_sum(*row))
