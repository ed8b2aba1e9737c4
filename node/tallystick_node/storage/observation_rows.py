"""The table of what mutations say was read, and its rows to and from core's records.

Rules of this file:
- A row is believed once its sum is checked.
- A row goes with the log whose mutation it is of. The other log may be gone: a number is never used again.
"""

from __future__ import annotations

from typing import Final

from tallystick_node.core.observation_records import Observation
from tallystick_node.storage.sql import Row, Sql, Value
from tallystick_node.storage.sums import check_sum, row_sum

OBSERVATION_TABLES: Final = (
    """CREATE TABLE observations (
        log INTEGER NOT NULL, other INTEGER NOT NULL, seq INTEGER NOT NULL, other_seq INTEGER NOT NULL,
        other_position INTEGER NOT NULL, sum INTEGER NOT NULL,
        PRIMARY KEY (log, other, seq)) STRICT, WITHOUT ROWID""",
)
"""What format 4 has of observations."""

OBSERVATION_SELECT: Final = "SELECT log, other, seq, other_seq, other_position, sum FROM observations"
"""Begins a statement whose rows `observation_of` reads."""

OBSERVATION_INSERT: Final = "INSERT INTO observations VALUES (?, ?, ?, ?, ?, ?)"

_FORGET: Final = (
    "DELETE FROM observations WHERE log = ? AND seq < ? AND EXISTS (SELECT 1 FROM observations AS later"
    " WHERE later.log = observations.log AND later.other = observations.other AND later.seq > observations.seq"
    " AND later.seq <= ?)"
)


def observation_of(sql: Sql, row: Row) -> Observation:
    """An observation. Raises DatabaseDamaged where it is not what was written."""
    *columns, stored = row
    check_sum(sql.path, "an observation", stored, *columns)
    return Observation(*columns)


def observation_row(observation: Observation) -> tuple[Value, ...]:
    """As the table has it."""
    return (*observation, row_sum(*observation))


def forget_observations(sql: Sql, log_number: int, seq: int) -> None:
    """Where the mutations of a log below a seq are removed: what they said that a later one, up to there, says too.

    What remains is what the mutation at that seq knew, and all after it.
    """
    sql.execute(_FORGET, (log_number, seq, seq))
