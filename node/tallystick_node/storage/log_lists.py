"""Logs by name, branches too, and how large their mutations are: what is asked of many logs, one small page at a time.

Rules of this file: those of `reads.py`.
"""

from __future__ import annotations

from tallystick_node.core.commands import Target
from tallystick_node.core.tables import LogRecord
from tallystick_node.storage.log_rows import LOG_SELECT, log_of
from tallystick_node.storage.pages import AFTER_ANY_NAME, Page
from tallystick_node.storage.sql import Sql


class LogLists:
    """See the module."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def logs(self, namespace: str, prefix: str, after: Target | None, limit: int) -> Page[LogRecord]:
        """The logs of a namespace by agent and branch: of agents with the prefix, after that log."""
        _, agent, branch = after or Target("", "", "")
        rows = self._sql.rows(
            f"{LOG_SELECT} WHERE namespace = ? AND agent >= ? AND agent < ? AND (agent, branch) > (?, ?)"
            " ORDER BY agent, branch LIMIT ?",
            (namespace, prefix, prefix + AFTER_ANY_NAME, agent, branch, limit + 1),
        )
        return Page([log_of(self._sql, row).record for row in rows[:limit]], len(rows) > limit)

    def loose_checkpoints(self, log: LogRecord, below_seq: int) -> int:
        """How many checkpoints that were taken in the log before a seq nothing keeps: no pin, no remembered key."""
        row = self._sql.row(
            "SELECT count(*) FROM checkpoints WHERE log = ? AND seq < ?"
            " AND position NOT IN (SELECT checkpoint FROM pins WHERE log = ?)"
            " AND position NOT IN (SELECT position FROM keys WHERE log = ?)",
            (log.number, below_seq, log.number, log.number),
        )
        return int(row[0]) if row is not None else 0

    def sizes(self, log: LogRecord, after_seq: int, limit: int) -> list[int]:
        """Bytes of the log's own mutations behind a seq, oldest first, at most so many."""
        rows = self._sql.rows(
            "SELECT length(body) FROM events WHERE kind = 1 AND log = ? AND seq > ? ORDER BY seq LIMIT ?",
            (log.number, after_seq, limit),
        )
        return [int(row[0]) for row in rows]
