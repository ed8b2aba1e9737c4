"""What core asks of branches, in SQLite.

Rules of this file: what was gathered is written before anything is looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tallystick_node.core.chain import NO_HASH
from tallystick_node.core.observation_records import Place
from tallystick_node.core.tables import LogRecord
from tallystick_node.storage.anchoring import oldest_seq, point_at
from tallystick_node.storage.lineage import Stretch, lineage, newest_checkpoint, newest_seq, own_mutation
from tallystick_node.storage.log_rows import LOG_SELECT, log_of
from tallystick_node.storage.pages import AFTER_ANY_NAME
from tallystick_node.storage.sql import Sql


class SqlBranchTables:
    """An implementation of `tallystick_node.core.tables.BranchTables`.

    Args:
        flush: writes the rows that gathered.
    """

    def __init__(self, sql: Sql, flush: Callable[[], None]) -> None:
        self._sql = sql
        self._flush = flush

    def count(self, namespace: str, agent: str) -> int:
        """See `BranchTables`."""
        self._flush()
        row = self._sql.row("SELECT count(*) FROM logs WHERE namespace = ? AND agent = ?", (namespace, agent))
        return int(row[0]) if row is not None else 0

    def depth(self, log: LogRecord) -> int:
        """See `BranchTables`."""
        return len(self._line(log)) - 1

    def child(self, log: LogRecord) -> LogRecord | None:
        """See `BranchTables`."""
        self._flush()
        row = self._sql.row(f"{LOG_SELECT} WHERE b.parent = ? ORDER BY b.log LIMIT 1", (log.number,))
        return log_of(self._sql, row).record if row is not None else None

    def team(self, namespace: str, prefix: str, branch: str, limit: int) -> Sequence[LogRecord]:
        """See `BranchTables`."""
        self._flush()
        rows = self._sql.rows(
            f"{LOG_SELECT} WHERE namespace = ? AND agent >= ? AND agent < ? AND branch = ? ORDER BY agent LIMIT ?",
            (namespace, prefix, prefix + AFTER_ANY_NAME, branch, limit),
        )
        return [log_of(self._sql, row).record for row in rows]

    def of_agent(self, namespace: str, agent: str) -> Sequence[LogRecord]:
        """All logs of an agent, by branch: at most `limits.AGENT_BRANCHES`."""
        self._flush()
        rows = self._sql.rows(f"{LOG_SELECT} WHERE namespace = ? AND agent = ? ORDER BY branch", (namespace, agent))
        return [log_of(self._sql, row).record for row in rows]

    def hash_at(self, log: LogRecord, seq: int) -> bytes:
        """See `BranchTables`."""
        if seq in {0, log.seq}:
            return log.hash if seq else NO_HASH
        return point_at(self._sql, self._line(log), seq).hash

    def place(self, log: LogRecord, seq: int) -> Place | None:
        """See `BranchTables`."""
        # What is written need not be asked for what is gathered, which takes a write.
        is_own = seq > log.fork_seq
        found = own_mutation(self._sql, log, seq) if is_own else None
        if found is None:
            line = self._line(log)
            log = log if is_own else next(stretch.log for stretch in line if seq > stretch.log.fork_seq)
            found = own_mutation(self._sql, log, seq)
        return Place(log.number, seq, found.position, found.hash) if found is not None else None

    def seq_at(self, log: LogRecord, position: int) -> int:
        """See `BranchTables`."""
        if log.position <= position:
            return log.seq
        line = self._line(log)
        oldest = oldest_seq(self._sql, line)
        return newest_seq(self._sql, line, lambda mutation: mutation.position <= position, oldest)

    def newest_checkpoint(self, log: LogRecord, seq: int) -> str:
        """See `BranchTables`."""
        if seq == log.seq or not log.checkpoint:
            return log.checkpoint
        taken = newest_checkpoint(self._sql, self._line(log), seq)
        return taken.name if taken is not None else ""

    def _line(self, log: LogRecord) -> list[Stretch]:
        self._flush()
        return lineage(self._sql, log)
