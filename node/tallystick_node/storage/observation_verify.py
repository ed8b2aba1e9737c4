"""Looks at all that is stored of observations; a part of `verify.py`."""

from __future__ import annotations

from contextlib import closing

from tallystick_node.core.observation_records import Observation
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.observation_rows import OBSERVATION_SELECT, observation_of
from tallystick_node.storage.sql import Sql

_LOGLESS = "SELECT log FROM observations AS o LEFT JOIN logs AS l ON l.number = o.log WHERE l.number IS NULL LIMIT 1"


def check_observations(sql: Sql) -> None:
    """Raises DatabaseDamaged where an observation is not what was written, or cannot be."""
    before: Observation | None = None
    with closing(sql.each(f"{OBSERVATION_SELECT} ORDER BY log, other, seq")) as rows:
        for row in rows:
            found = observation_of(sql, row)
            if before is not None and before[:2] == found[:2] and before.other_seq >= found.other_seq:
                raise DatabaseDamaged(sql.path, f"log {found.log}: what it read of log {found.other} does not rise")
            _check_order(sql, found)
            before = found
    logless = sql.row(_LOGLESS)
    if logless is not None:
        raise DatabaseDamaged(sql.path, f"an observation is of log {logless[0]}, and there is none")


def _check_order(sql: Sql, found: Observation) -> None:
    """What was read was decided before, and stands where it says, as far as both are kept."""
    query = "SELECT position FROM events WHERE kind = 1 AND log = ? AND seq = ?"
    position = sql.row(query, (found.log, found.seq))
    other = sql.row(query, (found.other, found.other_seq))
    if (position is not None and position[0] <= found.other_position) or other not in (None, (found.other_position,)):
        raise DatabaseDamaged(sql.path, f"log {found.log}: what it read at seq {found.seq} is not what was written")
