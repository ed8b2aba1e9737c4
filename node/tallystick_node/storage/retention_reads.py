"""What can be asked of retention: policies, where logs begin, what is pinned, what went of what is watched.

Rules of this file: those of `reads.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tallystick_node.core import rules
from tallystick_node.core.commands import Target
from tallystick_node.core.outcomes import CheckpointTaken
from tallystick_node.core.retention import holds
from tallystick_node.core.retention_records import Anchor, Hold, RetentionRecord
from tallystick_node.core.tables import LogRecord
from tallystick_node.storage.compacting import newest_gone
from tallystick_node.storage.pages import AFTER_ANY_NAME
from tallystick_node.storage.sql import Sql
from tallystick_node.storage.tables import SqlTables

_AFTER_NAME: Final = "\x01"
"""Behind a name it sorts after that name and before every longer one."""


class RetentionReads:
    """The reads of retention, over the connection of the thread that applies."""

    def __init__(self, sql: Sql, tables: SqlTables) -> None:
        self._sql = sql
        self._tables = tables

    def policy(self, namespace: str) -> RetentionRecord | None:
        """The policy of a namespace; None: none was ever set."""
        return self._tables.retention.policy(namespace)

    def policies(self) -> Sequence[RetentionRecord]:
        """Those of all namespaces, by name."""
        return self._tables.retention.policies()

    def anchor(self, log: LogRecord) -> Anchor | None:
        """Where what is kept of a log's own begins; None: it has all of its own mutations."""
        return self._tables.retention.anchor(log)

    def oldest_seq(self, log: LogRecord) -> int:
        """From this seq on all of the log is kept, the state there included; 0: it is whole."""
        oldest = self._tables.retention.oldest(log)
        return oldest.point.seq if oldest is not None else 0

    def holds(self, target: Target) -> list[Hold]:
        """What holds mutations of a log, least first: `core.retention.holds`.

        Raises:
            NotFound: the log does not exist.
        """
        return holds(self._tables, rules.find_log(self._tables, target))

    def pinned(self, taken: Iterable[CheckpointTaken]) -> frozenset[int]:
        """Which of these checkpoints are pinned, by their positions."""
        return frozenset(each.position for each in taken if self._tables.retention.is_pinned(each))

    def newest_gone(self, namespace: str, agent: str | None, prefix: str | None) -> int:
        """The position of the newest mutation that went, of what a watch asks for: an agent of the namespace, those
        whose names begin so, or all; 0: none did."""
        newest = newest_gone(self._sql, namespace)
        if not newest or (agent is None and prefix is None):
            return newest
        first = agent if agent is not None else prefix or ""
        end = first + (_AFTER_NAME if agent is not None else AFTER_ANY_NAME)
        row = self._sql.row(
            "SELECT coalesce(max(a.position), 0) FROM logs AS l JOIN anchors AS a ON a.log = l.number"
            " WHERE a.mutations > 0 AND l.namespace = ? AND l.agent >= ? AND l.agent < ?",
            (namespace, first, end),
        )
        return int(row[0]) if row is not None else 0
