"""Reads of the state machine's database: states, mutations, checkpoints, agents, events.

Rules of this file:
- A page is bounded by items and by bytes, and holds at least one item; `more` says that there are further ones.
- What does not exist is `NotFound` with its reason; nothing here changes anything.
- Reads run on the loop thread between transactions, so each must be small.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from tallystick.errors import NotFound, Reason
from tallystick_node.core import limits, rules
from tallystick_node.core.commands import Target
from tallystick_node.core.outcomes import CheckpointTaken, Event, MutationDecided
from tallystick_node.core.tables import LogRecord
from tallystick_node.core.values import canonical_json
from tallystick_node.storage import snapshots
from tallystick_node.storage.context_reads import ContextReads
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.events import (
    CHECKPOINT_SELECT,
    EVENT_SELECT,
    MUTATION_SELECT,
    checkpoint_of,
    event_bytes,
    event_of,
    mutation_of,
)
from tallystick_node.storage.lease_reads import LeaseReads
from tallystick_node.storage.pages import AFTER_ANY_NAME, Page, take_page
from tallystick_node.storage.sql import MAX_INTEGER, Sql
from tallystick_node.storage.step_reads import StepReads
from tallystick_node.storage.tables import LOG_SELECT, SqlTables, log_of


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log ends."""


@dataclass(frozen=True, slots=True)
class AtSeq:
    """After the mutation with this seq; 0 is before the first."""

    seq: int


@dataclass(frozen=True, slots=True)
class AtCheckpoint:
    """Where the checkpoint of this name was taken."""

    name: str


@dataclass(frozen=True, slots=True)
class AtTime:
    """After the last mutation at or before this time."""

    time_unix_ms: int


@dataclass(frozen=True, slots=True)
class AtLastTurn:
    """After the mutation that ended a turn last; before the first mutation if none was ended."""


At: TypeAlias = Head | AtSeq | AtCheckpoint | AtTime | AtLastTurn


@dataclass(frozen=True, slots=True)
class StateRead:
    """A state as canonical JSON, hash and time of the mutation at `seq` (empty and 0 at seq 0), and the newest
    checkpoint at or before it."""

    seq: int
    state: bytes
    hash: bytes
    time_unix_ms: int
    checkpoint: CheckpointTaken | None

    @property
    def digest(self) -> bytes:
        """SHA-256 of the state, as checkpoints have it."""
        return hashlib.sha256(self.state).digest()


class Reads:
    """The reads, over the connection of the thread that applies.

    Attributes:
        contexts: those of shared contexts.
        leases: those of leases.
        steps: those of steps.
    """

    def __init__(self, sql: Sql, tables: SqlTables) -> None:
        self._sql = sql
        self._tables = tables
        self.contexts = ContextReads(sql, tables.contexts)
        self.leases = LeaseReads(sql, tables.leases)
        self.steps = StepReads(sql, tables, tables.steps)

    @property
    def agent_count(self) -> int:
        """Agents of all namespaces."""
        return self._tables.agents

    @property
    def position(self) -> int:
        """Position of the newest event; 0 before the first."""
        return self._tables.position

    def read_state(self, target: Target, at: At) -> StateRead:
        """The state at head, a seq, a checkpoint or a time.

        Raises:
            NotFound: the log, seq, checkpoint or time does not exist.
        """
        log = rules.find_log(self._tables, target)
        seq = self._resolve(log, at)
        time_unix_ms = self._time_at(log, seq)
        checkpoint = self._newest_checkpoint(log, seq)
        if seq == log.seq:
            state = canonical_json(self._tables.document(log).root)
            return StateRead(seq, state, log.hash, time_unix_ms, checkpoint)
        rebuilt = snapshots.rebuild(self._sql, log.number, seq)
        self._tables.replayed += rebuilt.replayed
        return StateRead(seq, canonical_json(rebuilt.document.root), rebuilt.hash, time_unix_ms, checkpoint)

    def log(self, target: Target) -> LogRecord:
        """What is known of a log.

        Raises:
            NotFound: it does not exist.
        """
        return rules.find_log(self._tables, target)

    def mutations(self, target: Target, after_seq: int, limit: int) -> Page[MutationDecided]:
        """A log's mutations after a seq, oldest first.

        Raises:
            NotFound: the log does not exist.
        """
        log = rules.find_log(self._tables, target)
        rows = self._sql.each(
            f"{MUTATION_SELECT} AND log = ? AND seq > ? ORDER BY seq LIMIT ?",
            (log.number, min(after_seq, MAX_INTEGER), limit + 1),
        )
        with closing(rows):
            events = (mutation_of(self._sql, target, row) for row in rows)
            page = take_page(events, limit, limits.PAGE_BYTES, event_bytes)
        seqs = [event.seq for event in page.items]
        if seqs != list(range(after_seq + 1, after_seq + 1 + len(seqs))) or page.more != (
            after_seq + len(seqs) < log.seq
        ):
            raise DatabaseDamaged(self._sql.path, f"log {log.number} lacks mutations after {after_seq}")
        return page

    def checkpoint(self, target: Target, name: str) -> CheckpointTaken:
        """A checkpoint by its name.

        Raises:
            NotFound: the log or the checkpoint does not exist.
        """
        return self._checkpoint(rules.find_log(self._tables, target), name)

    def checkpoints(self, target: Target, after_position: int, limit: int) -> Page[CheckpointTaken]:
        """A log's checkpoints after a position, oldest first.

        Raises:
            NotFound: the log does not exist.
        """
        log = rules.find_log(self._tables, target)
        rows = self._sql.each(
            f"{CHECKPOINT_SELECT} WHERE c.log = ? AND c.position > ? ORDER BY c.position LIMIT ?",
            (log.number, min(after_position, MAX_INTEGER), limit + 1),
        )
        with closing(rows):
            taken = (checkpoint_of(self._sql, log.number, target, row) for row in rows)
            page = take_page(taken, limit, limits.PAGE_BYTES, event_bytes)
        self._check_order([checkpoint.position for checkpoint in page.items], after_position)
        return page

    def agents(self, namespace: str, prefix: str, after: str, limit: int) -> Page[LogRecord]:
        """The logs of a namespace by name of agent, those with the prefix and after the name."""
        rows = self._sql.rows(
            f"{LOG_SELECT} WHERE namespace = ? AND agent >= ? AND agent < ? AND agent > ?"
            " ORDER BY agent, branch LIMIT ?",
            (namespace, prefix, prefix + AFTER_ANY_NAME, after, limit + 1),
        )
        return Page([log_of(self._sql, row).record for row in rows[:limit]], len(rows) > limit)

    def events(self, after_position: int, limit: int, max_bytes: int = limits.PAGE_BYTES) -> list[Event]:
        """What was decided after a position, in all namespaces, oldest first. Empty only if there is nothing after it.

        The events of a deleted agent are gone but for its deletion.
        """
        rows = self._sql.each(
            f"{EVENT_SELECT} WHERE e.position > ? ORDER BY e.position LIMIT ?",
            (min(after_position, MAX_INTEGER), limit),
        )
        with closing(rows):
            page = take_page((event_of(self._sql, row) for row in rows), limit, max_bytes, event_bytes).items
        self._check_order([event.position for event in page], after_position)
        return page

    def _check_order(self, positions: Sequence[int], after_position: int) -> None:
        """A damaged page may lead to others that were not asked for, or to one of them twice."""
        if any(before >= after for before, after in pairwise([after_position, *positions])):
            raise DatabaseDamaged(self._sql.path, f"positions after {after_position} are not in order")

    def _resolve(self, log: LogRecord, at: At) -> int:
        match at:
            case Head():
                return log.seq
            case AtSeq():
                if at.seq > log.seq:
                    raise NotFound(
                        f"the log ends at {log.seq}", reason=Reason.SEQ_NOT_FOUND, metadata={"head_seq": str(log.seq)}
                    )
                return at.seq
            case AtCheckpoint():
                return self._checkpoint(log, at.name).seq
            case AtTime():
                return self._seq_at_time(log, at.time_unix_ms)
            case AtLastTurn():
                return self._tables.steps.last_turn_end(log)

    def _seq_at_time(self, log: LogRecord, time_unix_ms: int) -> int:
        """Halves the log: its times never fall."""
        low, high = 0, log.seq
        while low < high:
            middle = (low + high + 1) // 2
            if self._time_at(log, middle) <= time_unix_ms:
                low = middle
            else:
                high = middle - 1
        if low == 0:
            raise NotFound(f"the log begins after {time_unix_ms}", reason=Reason.TIME_NOT_FOUND)
        return low

    def _time_at(self, log: LogRecord, seq: int) -> int:
        if seq == 0:
            return 0
        row = self._sql.row(f"{MUTATION_SELECT} AND log = ? AND seq = ?", (log.number, seq))
        if row is None:
            raise DatabaseDamaged(self._sql.path, f"log {log.number} lacks its mutation {seq}")
        mutation = mutation_of(self._sql, log.target, row)
        if mutation.seq != seq:
            raise DatabaseDamaged(self._sql.path, f"looking for mutation {seq} leads to {mutation.seq}")
        return mutation.time_unix_ms

    def _checkpoint(self, log: LogRecord, name: str) -> CheckpointTaken:
        row = self._sql.row(f"{CHECKPOINT_SELECT} WHERE c.log = ? AND c.name = ?", (log.number, name))
        if row is None:
            raise NotFound(
                f"agent {log.target.agent!r} has no checkpoint {name!r}",
                reason=Reason.CHECKPOINT_NOT_FOUND,
                metadata={"checkpoint": name},
            )
        taken = checkpoint_of(self._sql, log.number, log.target, row)
        if taken.name != name:
            raise DatabaseDamaged(self._sql.path, f"looking for checkpoint {name!r} leads to {taken.name!r}")
        return taken

    def _newest_checkpoint(self, log: LogRecord, seq: int) -> CheckpointTaken | None:
        if not log.checkpoint:
            return None
        row = self._sql.row(
            f"{CHECKPOINT_SELECT} WHERE c.log = ? AND c.seq <= ? ORDER BY c.seq DESC, c.position DESC LIMIT 1",
            (log.number, seq),
        )
        taken = checkpoint_of(self._sql, log.number, log.target, row) if row is not None else None
        if taken is not None and taken.seq > seq:
            raise DatabaseDamaged(self._sql.path, f"looking for a checkpoint up to {seq} leads to one at {taken.seq}")
        return taken
