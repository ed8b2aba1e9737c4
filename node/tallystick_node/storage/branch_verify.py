"""Looks at all branches of a database: that each began at a log that is there, and has its event."""

from __future__ import annotations

from contextlib import closing
from typing import Final

from tallystick_node.storage.anchoring import point_at
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.lineage import lineage
from tallystick_node.storage.log_rows import LOG_SELECT, log_of
from tallystick_node.storage.sql import Sql

_UNPAIRED: Final = {
    "a branch": "SELECT 1 FROM branches AS b LEFT JOIN logs AS l ON l.number = b.log"
    " LEFT JOIN events AS e ON e.position = b.fork_position AND e.kind = 7 AND e.log = b.log"
    " AND e.seq = b.fork_seq WHERE l.number IS NULL OR e.kind IS NULL LIMIT 1",
    "the event of a branch": "SELECT 1 FROM events AS e LEFT JOIN branches AS b ON b.log = e.log"
    " WHERE e.kind = 7 AND b.log IS NULL LIMIT 1",
    "the event of a branch's end": "SELECT 1 FROM events AS e LEFT JOIN deletions AS d ON d.position = e.position"
    " WHERE e.kind = 8 AND d.position IS NULL LIMIT 1",
}
"""Rows whose other half is missing, where there is any."""


def check_branches(sql: Sql) -> None:
    """Raises DatabaseDamaged where anything is not what was written."""
    for what, query in _UNPAIRED.items():
        if sql.row(query) is not None:
            raise DatabaseDamaged(sql.path, f"{what} lacks its other half")
    with closing(sql.each(f"{LOG_SELECT} WHERE b.log IS NOT NULL")) as rows:
        for row in rows:
            log = log_of(sql, row).record
            line = lineage(sql, log)
            if log.seq and log.seq == log.fork_seq and point_at(sql, line, log.seq).hash != log.hash:
                raise DatabaseDamaged(sql.path, f"log {log.number}: its record and its parent differ")
