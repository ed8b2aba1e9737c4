"""The table of branches, its rows from core's records, and the bodies of their events.

Rules of this file:
- A branch's row in `logs` is as any other's; where it began stands here, and the two are read together (`log_rows.py`).
- The event of a branch's beginning bears the name of its parent; that of its end is, as an agent's, in `deletions`.
"""

from __future__ import annotations

from typing import Final

from tallystick_node.core.outcomes import BranchForked
from tallystick_node.core.tables import LogRecord
from tallystick_node.storage.sql import Value
from tallystick_node.storage.sums import row_sum

BRANCH_TABLES: Final = (
    """CREATE TABLE branches (
        log INTEGER PRIMARY KEY,
        parent INTEGER NOT NULL, fork_seq INTEGER NOT NULL, fork_position INTEGER NOT NULL, sum INTEGER NOT NULL)
        STRICT""",
    "CREATE INDEX branches_by_parent ON branches (parent, log)",
)
"""What format 4 has of branches."""

BRANCH_INSERT: Final = "INSERT INTO branches VALUES (?, ?, ?, ?, ?)"


def branch_row(log: LogRecord) -> tuple[Value, ...]:
    """As the table has it."""
    row = (log.number, log.parent, log.fork_seq, log.fork_position)
    return (*row, row_sum(*row))


def forked_body(event: BranchForked) -> bytes:
    """What such an event has beside what all events have."""
    return event.parent.encode()
