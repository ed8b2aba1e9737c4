"""Looks at all that is stored of steps and turns; a part of `verify.py`.

A step whose row is hidden would be begun again, and its effect happen twice. SQLite's own check finds a row that is not
where it should be; here each row must have its mutations.
"""

from __future__ import annotations

from contextlib import closing
from typing import Final

from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.sql import MAX_INTEGER, Sql
from tallystick_node.storage.step_rows import STEP_COLUMNS, TURN_SELECT, step_of, turn_of

_ANCHORED: Final = (
    "WITH RECURSIVE line(log) AS (SELECT ?1 UNION SELECT b.parent FROM branches AS b JOIN line ON b.log = line.log)"
    " SELECT 1 FROM anchors WHERE log IN line AND seq >= ?2 LIMIT 1"
)
"""Whether a log, or one whose past it shares, has an anchor at a seq or behind."""


def check_steps(sql: Sql) -> None:
    """Raises DatabaseDamaged where a step or a turn is not what was written, or is not there."""
    with closing(sql.each(f"SELECT {STEP_COLUMNS} FROM steps AS s")) as rows:  # noqa: S608
        for row in rows:
            log, step = step_of(sql, row, MAX_INTEGER)
            _check_begun(sql, log, step.begun_position, step.begun_seq)
            if step.ended_position:
                _check_mutation(sql, log, step.ended_position, step.ended_seq)
    with closing(sql.each(TURN_SELECT)) as rows:
        for row in rows:
            log, turn = turn_of(sql, row, MAX_INTEGER)
            _check_begun(sql, log, turn.begun_position, turn.begun_seq)
            if turn.ended_position:
                _check_begun(sql, log, turn.ended_position, turn.ended_seq)
    if sql.row("SELECT count(*) FROM turns WHERE ended_seq > 0") != sql.row(
        "SELECT count(*) FROM turns NOT INDEXED WHERE ended_seq > 0"
    ):
        raise DatabaseDamaged(sql.path, "a turn that ended is not found by its index")


def _check_begun(sql: Sql, log: int, position: int, seq: int) -> None:
    """As `_check_mutation`, of one that may have gone with what was before an anchor."""
    if sql.row(_ANCHORED, (log, seq)) is None:
        _check_mutation(sql, log, position, seq)


def _check_mutation(sql: Sql, log: int, position: int, seq: int) -> None:
    """By its position: that of a branch may be its parent's. What ended a step stays when the log is compacted."""
    found = sql.row("SELECT seq FROM events WHERE kind = 1 AND position = ?", (position,)) or sql.row(
        "SELECT seq FROM remains WHERE position = ?", (position,)
    )
    if found != (seq,):
        raise DatabaseDamaged(sql.path, f"log {log}: a step or a turn lacks its mutation at seq {seq}")
