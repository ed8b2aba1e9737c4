"""What core asks of retention, in SQLite. Each row is written at once: they are few.

Rules of this file:
- What was gathered is written before anything is looked up or removed.
- A compaction is a few statements, whatever it removes: the loop stands still meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Final, Protocol

from tallystick_node.core.document import Document
from tallystick_node.core.outcomes import CheckpointTaken
from tallystick_node.core.retention_records import (
    Anchor,
    CheckpointPinned,
    KeptState,
    LogCompacted,
    RetentionRecord,
)
from tallystick_node.core.tables import LogRecord
from tallystick_node.core.values import canonical_json
from tallystick_node.storage.anchoring import is_lone, is_readable, oldest_anchor, own_anchor, point_at
from tallystick_node.storage.compacting import compact
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.lineage import Stretch, checkpoint_named, lineage, newest_checkpoint
from tallystick_node.storage.log_rows import LOG_SELECT, log_of
from tallystick_node.storage.rebuilding import rebuild
from tallystick_node.storage.retention_rows import (
    ANCHOR_UPSERT,
    KEPT_UPSERT,
    RETENTION_UPSERT,
    anchor_row,
    kept_row,
    retention_of,
    retention_row,
)
from tallystick_node.storage.sql import Sql
from tallystick_node.storage.step_tables import SqlStepTables
from tallystick_node.storage.sums import check_sum, row_sum

_OWN_NAMED: Final = (
    "SELECT c.seq FROM pins AS p JOIN checkpoints AS c ON c.position = p.checkpoint"
    " WHERE p.log = ? AND c.seq >= ? AND c.seq < ?"
)
_STAYING: Final = (
    "SELECT seq FROM kept_states WHERE log = ?1 AND seq < ?2"
    " UNION SELECT seq FROM checkpoints WHERE log = ?1 AND seq < ?2"
    " UNION SELECT ended_seq FROM steps WHERE log = ?1 AND ended_seq > 0 AND ended_seq < ?2"
)
_SIZES: Final = "SELECT seq, length(body) FROM events WHERE kind = 1 AND log = ? AND seq <= ? ORDER BY seq"
_CUTS: Final = (
    "SELECT namespace, agent, branch, seq, min(position), hash, sum FROM cut_points"
    " WHERE namespace = ? AND agent = ? AND branch = ? AND seq >= ? AND seq < ? GROUP BY seq, hash"
)
"""Of all cuts that bind one point, the oldest: SQLite takes the other columns from the row with the least."""


class Host(Protocol):
    """What the tables of retention need of those of logs."""

    def flush(self) -> None:
        """Write the rows that gathered."""
        ...

    def document(self, log: LogRecord) -> Document:
        """The state at the log's head."""
        ...

    def save_record(self, log: LogRecord) -> None:
        """Change a log's record alone."""
        ...

    def add_retention_event(self, log_number: int, event: LogCompacted | CheckpointPinned) -> None:
        """Add an event of a log at the next position."""
        ...


class SqlRetentionTables:
    """An implementation of `tallystick_node.core.retention_records.RetentionTables`."""

    def __init__(self, sql: Sql, host: Host, steps: SqlStepTables) -> None:
        self._sql = sql
        self._host = host
        self._steps = steps

    def policy(self, namespace: str) -> RetentionRecord | None:
        """See `RetentionTables`."""
        row = self._sql.row("SELECT * FROM retention WHERE namespace = ?", (namespace,))
        if row is None:
            return None
        record = retention_of(self._sql, row)
        if record.namespace != namespace:
            raise DatabaseDamaged(self._sql.path, "looking for the retention of a namespace leads to another")
        return record

    def policies(self) -> Sequence[RetentionRecord]:
        """Those of all namespaces, by name: one for each namespace at most."""
        return [retention_of(self._sql, row) for row in self._sql.rows("SELECT * FROM retention ORDER BY namespace")]

    def save_policy(self, record: RetentionRecord) -> None:
        """See `RetentionTables`."""
        self._sql.execute(RETENTION_UPSERT, retention_row(record))

    def anchor(self, log: LogRecord) -> Anchor | None:
        """See `RetentionTables`."""
        return own_anchor(self._sql, log.number)

    def oldest(self, log: LogRecord) -> Anchor | None:
        """See `RetentionTables`."""
        return oldest_anchor(self._sql, self._line(log)) if log.parent else self.anchor(log)

    def is_readable(self, log: LogRecord, seq: int) -> bool:
        """See `RetentionTables`."""
        return is_readable(self._sql, self._line(log), seq)

    def is_lone(self, log: LogRecord, seq: int) -> bool:
        """See `RetentionTables`."""
        return is_lone(self._sql, self._line(log), seq)

    def state(self, log: LogRecord, seq: int) -> KeptState:
        """See `RetentionTables`."""
        line = self._line(log)
        point = point_at(self._sql, line, seq)
        if seq == log.seq:
            document = self._host.document(log)
        else:
            rebuilt = rebuild(self._sql, line, seq)
            document = rebuilt.document
            if rebuilt.hash != point.hash:
                raise DatabaseDamaged(self._sql.path, f"log {log.number}: its state at {seq} is of another mutation")
        state = canonical_json(document.root)
        return KeptState(point, hashlib.sha256(state).digest(), state)

    def users(self, log: LogRecord) -> Sequence[tuple[LogRecord, int]]:
        """See `RetentionTables`."""
        logs = {each.number: each for each in self._of_agent(log)}
        anchors = {number: anchor for number in logs if (anchor := own_anchor(self._sql, number)) is not None}
        shared = [(each, _shared_seq(logs, anchors, each, log.number)) for each in logs.values()]
        return [(each, seq) for each, seq in shared if seq is not None]

    def named(self, log: LogRecord, seqs: tuple[int, int]) -> Sequence[int]:
        """See `RetentionTables`."""
        line = self._line(log)
        found = {int(row[0]) for row in self._sql.rows(_OWN_NAMED, (log.number, *seqs))}
        for *columns, stored in self._sql.rows(_CUTS, (*log.target, *seqs)):
            check_sum(self._sql.path, "what a cut binds", stored, *columns)
            seq, _, hash_ = columns[3:]
            if seq not in found and is_readable(self._sql, line, seq) and point_at(self._sql, line, seq).hash == hash_:
                found.add(seq)
        logs = {each.number: each for each in self._of_agent(log)}
        shared = [_shared_seq(logs, {}, each, log.number) for each in logs.values() if each.number != log.number]
        return sorted(found | {seq for seq in shared if seq is not None and seqs[0] <= seq < seqs[1]})

    def is_kept(self, log: LogRecord, seq: int) -> bool:
        """See `RetentionTables`."""
        return self._sql.row("SELECT 1 FROM kept_states WHERE log = ? AND seq = ?", (log.number, seq)) is not None

    def keep(self, log: LogRecord, kept: KeptState) -> None:
        """See `RetentionTables`."""
        self._sql.execute(KEPT_UPSERT, kept_row(log.number, kept))

    def staying(self, log: LogRecord, below: int) -> Sequence[int]:
        """See `RetentionTables`."""
        return [int(row[0]) for row in self._sql.rows(_STAYING, (log.number, below))]

    def reach(self, log: LogRecord, upto: int, size_bytes: int) -> int:
        """See `RetentionTables`."""
        self._host.flush()
        reached = 0
        with closing(self._sql.each(_SIZES, (log.number, upto))) as rows:
            for seq, each_bytes in rows:
                size_bytes -= each_bytes
                if reached and size_bytes < 0:
                    break
                reached = seq
        return reached

    def weigh(self, log: LogRecord, seq: int) -> tuple[int, int]:
        """See `RetentionTables`."""
        self._host.flush()
        row = self._sql.row(
            "SELECT coalesce(sum(length(body)), 0), min(position) FROM events WHERE kind = 1 AND log = ? AND seq <= ?",
            (log.number, seq),
        )
        if row is None or row[1] is None:
            raise DatabaseDamaged(self._sql.path, f"log {log.number} lacks its mutations up to {seq}")
        return int(row[0]), int(row[1])

    def compact(self, log: LogRecord, anchor: Anchor) -> int:
        """See `RetentionTables`."""
        self._host.flush()
        self.save_anchor(log, anchor)
        self._drop_states(log, anchor.point.seq)
        gone = compact(self._sql, log, anchor)
        for each in self._of_agent(log) if gone else ():
            if each.checkpoint in gone:
                self._name_newest(each)
        return len(gone)

    def save_anchor(self, log: LogRecord, anchor: Anchor) -> None:
        """See `RetentionTables`."""
        self._sql.execute(ANCHOR_UPSERT, anchor_row(log.number, anchor))

    def checkpoint(self, log: LogRecord, name: str) -> CheckpointTaken | None:
        """See `RetentionTables`."""
        return checkpoint_named(self._sql, self._line(log), name)

    def newest_checkpoint(self, log: LogRecord) -> CheckpointTaken | None:
        """See `RetentionTables`."""
        return newest_checkpoint(self._sql, self._line(log), log.seq) if log.checkpoint else None

    def is_pinned(self, taken: CheckpointTaken) -> bool:
        """See `RetentionTables`."""
        row = self._sql.row("SELECT * FROM pins WHERE checkpoint = ?", (taken.position,))
        if row is None:
            return False
        *columns, stored = row
        check_sum(self._sql.path, "a pin", stored, *columns)
        return True

    def save_pin(self, log: LogRecord, taken: CheckpointTaken, event: CheckpointPinned) -> None:
        """See `RetentionTables`."""
        self._sql.execute("DELETE FROM pins WHERE checkpoint = ?", (taken.position,))
        if event.is_pinned:
            row = (taken.position, log.number, event.position)
            self._sql.execute("INSERT INTO pins VALUES (?, ?, ?, ?)", (*row, row_sum(*row)))
        self._add_event(log, event)

    def add_compaction(self, log: LogRecord, event: LogCompacted) -> None:
        """See `RetentionTables`."""
        self._add_event(log, event)

    def last_turn_end(self, log: LogRecord) -> int:
        """See `RetentionTables`."""
        return self._steps.last_turn_end(log)

    def _add_event(self, log: LogRecord, event: LogCompacted | CheckpointPinned) -> None:
        row = (event.position, log.number)
        self._sql.execute("INSERT INTO retention_events VALUES (?, ?, ?)", (*row, row_sum(*row)))
        self._host.add_retention_event(log.number, event)

    def _drop_states(self, log: LogRecord, below: int) -> None:
        """Kept states before a seq that nothing names any more."""
        kept = self._sql.rows("SELECT seq FROM kept_states WHERE log = ? AND seq < ?", (log.number, below))
        named = set(self.named(log, (0, below)))
        needless = [(log.number, int(row[0])) for row in kept if row[0] not in named]
        self._sql.execute_many("DELETE FROM kept_states WHERE log = ? AND seq = ?", needless)

    def _name_newest(self, log: LogRecord) -> None:
        """Let a log's record name the newest checkpoint that it has."""
        taken = newest_checkpoint(self._sql, self._line(log), log.seq)
        name = taken.name if taken is not None else ""
        if name != log.checkpoint:
            self._host.save_record(replace(log, checkpoint=name))

    def _of_agent(self, log: LogRecord) -> list[LogRecord]:
        """All logs of the agent: at most `limits.AGENT_BRANCHES`."""
        self._host.flush()
        names = (log.target.namespace, log.target.agent)
        rows = self._sql.rows(f"{LOG_SELECT} WHERE namespace = ? AND agent = ? ORDER BY number", names)
        return [log_of(self._sql, row).record for row in rows]

    def _line(self, log: LogRecord) -> list[Stretch]:
        self._host.flush()
        return lineage(self._sql, log)


def _shared_seq(logs: dict[int, LogRecord], anchors: dict[int, Anchor], user: LogRecord, number: int) -> int | None:
    """Up to which seq a log needs the own mutations of the log of that number; None: it does not."""
    log, last_seq = user, user.seq
    while log.number != number:
        anchor = anchors.get(log.number)
        if not log.parent or (anchor is not None and anchor.point.seq <= last_seq):
            return None
        last_seq = min(last_seq, log.fork_seq)
        log = logs[log.parent]
    return last_seq
