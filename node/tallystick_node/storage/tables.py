"""Core's tables in SQLite, written behind: rows gather in memory and go to the database at the end of a transaction.

Rules of this file:
- Nothing is read past the gathered rows: a look-up by name or key looks among them first, any other flushes them.
- After a failed transaction `reset` forgets all that is in memory: the database is the truth.
- Everything runs on the thread that opened the connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tallystick_node.core.chain import NO_HASH
from tallystick_node.core.commands import MAIN, Idempotency, Target
from tallystick_node.core.document import Document
from tallystick_node.core.outcomes import (
    AgentDeleted,
    AgentEvent,
    BranchDeleted,
    BranchForked,
    CheckpointTaken,
    ContextDecided,
    Event,
    LeaseDecided,
    MutationDecided,
    PlainEvent,
    TeamCheckpointDeleted,
    TeamCheckpointTaken,
    WritersAllocated,
)
from tallystick_node.core.payload_records import PayloadDecided, PayloadsCollected
from tallystick_node.core.retention_records import CheckpointPinned, LogCompacted, RetentionSet
from tallystick_node.core.schema_records import SchemaRegistered
from tallystick_node.core.tables import LogRecord, Remembered
from tallystick_node.storage.branch_rows import BRANCH_INSERT, branch_row, forked_body
from tallystick_node.storage.branch_tables import SqlBranchTables
from tallystick_node.storage.context_rows import event_body
from tallystick_node.storage.context_tables import SqlContextTables
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.events import checkpoint_more, find_event
from tallystick_node.storage.hot_logs import HotLogs, StoredLog
from tallystick_node.storage.lease_rows import lease_body
from tallystick_node.storage.lease_tables import SqlLeaseTables
from tallystick_node.storage.lineage import checkpoint_named, lineage
from tallystick_node.storage.log_rows import LOG_SELECT, LOG_UPSERT, log_of, log_row
from tallystick_node.storage.meta import load_meta
from tallystick_node.storage.observation_tables import SqlObservationTables
from tallystick_node.storage.payload_rows import collected_body, payload_body
from tallystick_node.storage.payload_tables import SqlPayloadTables
from tallystick_node.storage.rebuilding import rebuild
from tallystick_node.storage.registry_rows import registered_body
from tallystick_node.storage.registry_tables import SqlRegistryTables
from tallystick_node.storage.removal import remove_agent, remove_branch
from tallystick_node.storage.retention_rows import compacted_body, pinned_body, retention_body
from tallystick_node.storage.retention_tables import SqlRetentionTables
from tallystick_node.storage.schema import (
    BRANCH_DELETED,
    CHECKPOINT,
    COMPACTED,
    CONTEXT,
    DELETION,
    FORK,
    LEASE,
    MUTATION,
    PAYLOAD,
    PAYLOADS_COLLECTED,
    PINNED,
    RETENTION,
    SCHEMA,
    TEAM_CHECKPOINT,
    TEAM_CHECKPOINT_DELETED,
    WRITERS,
)
from tallystick_node.storage.snapshots import Marks, marks_of_branch, write_if_due
from tallystick_node.storage.sql import Sql, Value
from tallystick_node.storage.step_tables import SqlStepTables
from tallystick_node.storage.sums import check_sum, event_sum, names_of, row_sum
from tallystick_node.storage.team_rows import team_body
from tallystick_node.storage.team_tables import SqlTeamTables

_NO_LOG: Final = 0
_NO_NAMES: Final = (None, None, None)
"""What an event has that is of no log."""


class SqlTables:
    """An implementation of `tallystick_node.core.tables.Tables`."""

    def __init__(self, sql: Sql, *, state_cache_bytes: int) -> None:
        self._sql = sql
        self._hot = HotLogs(state_cache_bytes)
        self._events: list[tuple[int, int, int, int, int, str, bytes, bytes, int]] = []
        self._logs: dict[Target, StoredLog] = {}
        self._keys: dict[tuple[int, str], tuple[int, Remembered]] = {}
        self.contexts = SqlContextTables(sql)
        self.leases = SqlLeaseTables(sql)
        self.steps = SqlStepTables(sql, self.flush)
        self.teams = SqlTeamTables(sql, self.flush)
        self.payloads = SqlPayloadTables(sql, self.flush)
        self.observations = SqlObservationTables(sql)
        self.schemas = SqlRegistryTables(sql, self.flush)
        self.branches = SqlBranchTables(sql, self.flush)
        self.retention = SqlRetentionTables(sql, self, self.steps)
        self.replayed = 0
        self.position = 0
        self.last_log = 0
        self.agents = 0
        self.reset()

    def reset(self) -> None:
        """Forget what is in memory and begin with what the database holds."""
        self._hot.clear()
        self._events.clear()
        self._logs.clear()
        self._keys.clear()
        self.leases.reset()
        self.schemas.reset()
        meta = load_meta(self._sql)
        self.position, self.last_log, self.agents = meta.position, meta.last_log, meta.agents

    def flush(self) -> None:
        """Write the rows that gathered."""
        self.leases.flush()
        if self._events:
            self._sql.execute_many("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", self._events)
            self._events.clear()
        if self._keys:
            rows = [
                _summed((log_number, key, number, known.fingerprint, known.position, known.mutations))
                for (log_number, key), (number, known) in self._keys.items()
            ]
            self._sql.execute_many("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            self._keys.clear()
        if self._logs:
            self._sql.execute_many(LOG_UPSERT, [log_row(stored) for stored in self._logs.values()])
            self._logs.clear()

    def log(self, target: Target) -> LogRecord | None:
        """See `Tables`."""
        stored = self._stored(target)
        return stored.record if stored is not None else None

    def document(self, log: LogRecord) -> Document:
        """See `Tables`."""
        document = self._hot.document(log.number)
        if document is None:
            self.flush()
            rebuilt = rebuild(self._sql, lineage(self._sql, log), log.seq)
            if rebuilt.hash != log.hash:
                raise DatabaseDamaged(self._sql.path, f"log {log.number}: its record and its last mutation differ")
            self.replayed += rebuilt.replayed
            document = rebuilt.document
            self._hot.put_document(log.number, document)
        return document

    def save_log(self, log: LogRecord, document: Document) -> None:
        """See `Tables`."""
        if log.number > self.last_log:
            self.last_log = log.number
            self.agents += log.target.branch == MAIN
        before = self._stored(log.target)
        marks = write_if_due(self._sql, log, document, before.marks if before is not None else Marks())
        stored = StoredLog(log, marks)
        self._hot.put_record(stored)
        self._hot.put_document(log.number, document)
        self._logs[log.target] = stored

    def save_record(self, log: LogRecord) -> None:
        """Change a log's record alone, of which nothing else is new."""
        before = self._stored(log.target)
        stored = StoredLog(log, before.marks if before is not None else Marks())
        self._hot.put_record(stored)
        self._logs[log.target] = stored

    def add_retention_event(self, log_number: int, event: LogCompacted | CheckpointPinned) -> None:
        """Add an event of a log at the next position."""
        if isinstance(event, LogCompacted):
            self._add_event(log_number, COMPACTED, event, event.hash, compacted_body(event))
        else:
            self._add_event(log_number, PINNED, event, NO_HASH, pinned_body(event))

    def add_mutations(self, log_number: int, events: Sequence[MutationDecided]) -> None:
        """See `Tables`."""
        names = names_of(events[0].actor, *events[0].target)
        self._events.extend(
            [
                (
                    *(position, log_number, MUTATION, seq, time_unix_ms, actor, hash_, raw),
                    event_sum(position, log_number, MUTATION, seq, time_unix_ms, hash_, raw, names),
                )
                for position, _, seq, time_unix_ms, actor, hash_, raw in events
            ]
        )
        self.position = events[-1].position

    def add_checkpoint(self, log_number: int, event: CheckpointTaken) -> None:
        """See `Tables`."""
        self._add_event(log_number, CHECKPOINT, event, event.hash, event.observed)
        row = (
            event.position,
            log_number,
            event.seq,
            event.name,
            event.step,
            event.metadata,
            event.pending_calls,
            event.state_digest,
        )
        self._sql.execute(
            "INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, row_sum(*row, *checkpoint_more(event.time_unix_ms, event.actor, event.hash, event.observed))),
        )

    def has_checkpoint(self, log: LogRecord, name: str) -> bool:
        """See `Tables`."""
        if not log.parent:
            found = self._sql.row("SELECT 1 FROM checkpoints WHERE log = ? AND name = ?", (log.number, name))
            return found is not None
        self.flush()
        return checkpoint_named(self._sql, lineage(self._sql, log), name) is not None

    def event(self, position: int) -> Event:
        """See `Tables`."""
        event = self._find_event(position)
        if event is None:
            raise DatabaseDamaged(self._sql.path, f"there is no event at position {position}")
        return event

    def find_mutation(self, position: int) -> MutationDecided | None:
        """See `Tables`."""
        event = self._find_event(position)
        return event if isinstance(event, MutationDecided) else None

    def remember(self, log_number: int, key_number: int, key: str, what: Remembered) -> None:
        """See `Tables`."""
        self._keys[log_number, key] = (key_number, what)

    def forget_keys(self, log_number: int, below: int) -> None:
        """See `Tables`."""
        self.flush()
        self._sql.execute("DELETE FROM keys WHERE log = ? AND number < ?", (log_number, below))

    def remembered(self, log_number: int, key: str) -> Remembered | None:
        """See `Tables`."""
        gathered = self._keys.get((log_number, key))
        if gathered is not None:
            return gathered[1]
        row = self._sql.row("SELECT * FROM keys WHERE log = ? AND key = ?", (log_number, key))
        if row is None:
            return None
        *columns, stored = row
        check_sum(self._sql.path, f"log {log_number}: the key {key!r}", stored, *columns)
        return Remembered(*columns[3:])

    def delete_agent(self, log: LogRecord, event: AgentDeleted, idempotency: Idempotency | None) -> None:
        """See `Tables`."""
        names = (log.target.namespace, log.target.agent)
        for each in self.branches.of_agent(*names) if self.branches.count(*names) > 1 else [log]:
            self._hot.drop(each)
        remove_agent(self._sql, log.target.namespace, log.target.agent)
        self._add_deletion(log, DELETION, event, idempotency)
        self.agents -= 1

    def add_branch(self, log: LogRecord, event: BranchForked) -> None:
        """See `Tables`."""
        self._sql.execute(BRANCH_INSERT, branch_row(log))
        stored = StoredLog(log, marks_of_branch(log))
        self._hot.put_record(stored)
        self._logs[log.target] = stored
        self._add_event(log.number, FORK, event, event.hash, forked_body(event))
        self.last_log = log.number

    def delete_branch(self, log: LogRecord, event: BranchDeleted, idempotency: Idempotency | None) -> None:
        """See `Tables`."""
        self.flush()
        self._hot.drop(log)
        remove_branch(self._sql, *log.target)
        self._add_deletion(log, BRANCH_DELETED, event, idempotency)

    def deletion(self, target: Target, key: str) -> tuple[AgentDeleted | BranchDeleted, bytes] | None:
        """See `Tables`."""
        row = self._sql.row(
            "SELECT * FROM deletions WHERE namespace = ? AND agent = ? AND key = ?",
            (target.namespace, target.agent, key),
        )
        if row is None:
            return None
        *columns, stored = row
        position = columns[0]
        check_sum(self._sql.path, f"the deletion at position {position}", stored, *columns)
        event = self.event(position)
        if not isinstance(event, (AgentDeleted, BranchDeleted)) or (*event.target[:2], columns[4]) != (
            *target[:2],
            key,
        ):
            raise DatabaseDamaged(self._sql.path, f"the event at position {position} is not the deletion it should be")
        return event, columns[-1]

    def add_event(self, event: PlainEvent) -> None:
        """See `Tables`."""
        position, time_unix_ms = event.position, event.time_unix_ms
        match event:
            case LeaseDecided():
                kind, seq, hash_, body = LEASE, event.epoch, NO_HASH, lease_body(event)
            case ContextDecided():
                kind, seq, hash_, body = CONTEXT, event.epoch, event.hash, event_body(event)
            case WritersAllocated():
                kind, seq, hash_, body = WRITERS, event.first, NO_HASH, event_body(event)
            case TeamCheckpointTaken():
                kind, seq, hash_, body = TEAM_CHECKPOINT, event.agents, event.hash, team_body(event)
            case TeamCheckpointDeleted():
                kind, seq, hash_, body = TEAM_CHECKPOINT_DELETED, event.taken, NO_HASH, team_body(event)
            case PayloadDecided():
                kind, seq, hash_, body = PAYLOAD, event.chunks, event.hash, payload_body(event)
            case PayloadsCollected():
                kind, seq, hash_, body = PAYLOADS_COLLECTED, event.payloads, event.hash, collected_body(event)
            case RetentionSet():
                kind, seq, hash_, body = RETENTION, 0, NO_HASH, retention_body(event)
            case SchemaRegistered():
                kind, seq, hash_, body = SCHEMA, event.version, event.hash, registered_body(event)
        total = event_sum(position, _NO_LOG, kind, seq, time_unix_ms, hash_, body, names_of(event.actor, *_NO_NAMES))
        self._events.append((position, _NO_LOG, kind, seq, time_unix_ms, event.actor, hash_, body, total))
        self.position = position

    def _find_event(self, position: int) -> Event | None:
        self.flush()
        return find_event(self._sql, position)

    def _add_deletion(
        self, log: LogRecord, kind: int, event: AgentDeleted | BranchDeleted, idempotency: Idempotency | None
    ) -> None:
        key, fingerprint = (idempotency.key, idempotency.fingerprint) if idempotency is not None else (None, None)
        self._sql.execute(
            "INSERT INTO deletions VALUES (?, ?, ?, ?, ?, ?, ?)",
            _summed((event.position, *event.target, key, fingerprint)),
        )
        self._add_event(log.number, kind, event, NO_HASH)

    def _add_event(self, log_number: int, kind: int, event: AgentEvent, hash_: bytes, body: bytes = b"") -> None:
        names = names_of(event.actor, *event.target)
        position, seq, time_unix_ms = event.position, event.seq, event.time_unix_ms
        total = event_sum(position, log_number, kind, seq, time_unix_ms, hash_, body, names)
        self._events.append((position, log_number, kind, seq, time_unix_ms, event.actor, hash_, body, total))
        self.position = position

    def _stored(self, target: Target) -> StoredLog | None:
        found = self._hot.record(target) or self._logs.get(target)
        if found is not None:
            return found
        row = self._sql.row(f"{LOG_SELECT} WHERE namespace = ? AND agent = ? AND branch = ?", tuple(target))
        if row is None:
            return None
        stored = log_of(self._sql, row)
        if stored.record.target != target:
            raise DatabaseDamaged(self._sql.path, f"looking for {target} leads to {stored.record.target}")
        self._hot.put_record(stored)
        return stored


def _summed(row: tuple[Value, ...]) -> tuple[Value, ...]:
    return (*row, row_sum(*row))
