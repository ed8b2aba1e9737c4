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
from tallystick_node.core.commands import MAIN, Target
from tallystick_node.core.outcomes import CheckpointTaken, Event, MutationDecided
from tallystick_node.core.tables import LogRecord
from tallystick_node.core.values import canonical_json
from tallystick_node.storage.anchoring import is_readable, oldest_anchor, oldest_seq, point_at
from tallystick_node.storage.causality_reads import CausalityReads
from tallystick_node.storage.context_reads import ContextReads
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.events import (
    EVENT_SELECT,
    event_bytes,
    event_of,
)
from tallystick_node.storage.lease_reads import LeaseReads
from tallystick_node.storage.lineage import (
    Stretch,
    checkpoint_named,
    checkpoints_after,
    lineage,
    log_numbered,
    mutations_after,
    newest_checkpoint,
    newest_seq,
)
from tallystick_node.storage.log_lists import LogLists
from tallystick_node.storage.log_rows import LOG_SELECT, log_of
from tallystick_node.storage.pages import AFTER_ANY_NAME, Page, take_page
from tallystick_node.storage.payload_reads import PayloadReads
from tallystick_node.storage.rebuilding import rebuild
from tallystick_node.storage.registry_reads import RegistryReads
from tallystick_node.storage.retention_reads import RetentionReads
from tallystick_node.storage.sql import MAX_INTEGER, Sql
from tallystick_node.storage.step_reads import StepReads
from tallystick_node.storage.tables import SqlTables


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
    """After the mutation that ended a turn last; where what is kept begins if none was ended since."""


At: TypeAlias = Head | AtSeq | AtCheckpoint | AtTime | AtLastTurn


@dataclass(frozen=True, slots=True)
class StateRead:
    """A state as canonical JSON, hash and time of the mutation at `seq` (empty and 0 at seq 0), and the newest
    checkpoint at or before it. `oldest_seq`: from there on all of the log is kept; 0: it is whole."""

    seq: int
    state: bytes
    hash: bytes
    time_unix_ms: int
    checkpoint: CheckpointTaken | None
    oldest_seq: int = 0

    @property
    def digest(self) -> bytes:
        """SHA-256 of the state, as checkpoints have it."""
        return hashlib.sha256(self.state).digest()


@dataclass(frozen=True, slots=True)
class Branch:
    """A log of an agent, the branch where it began (empty for `main`), and how much of its own went."""

    log: LogRecord
    parent: str
    gone_bytes: int


class Reads:
    """The reads, over the connection of the thread that applies.

    Attributes:
        contexts: those of shared contexts.
        leases: those of leases.
        steps: those of steps.
        teams: those of cuts through teams.
        payloads: those of payloads.
        causality: what happened before what.
        retention: those of retention.
        log_lists: those of many logs.
        registry: those of schemas.
    """

    def __init__(self, sql: Sql, tables: SqlTables) -> None:
        self._sql = sql
        self._tables = tables
        self.contexts = ContextReads(sql, tables.contexts)
        self.leases = LeaseReads(sql, tables.leases)
        self.steps = StepReads(sql, tables, tables.steps)
        self.teams = tables.teams
        self.payloads = PayloadReads(sql, tables.payloads)
        self.causality = CausalityReads(sql, tables)
        self.retention = RetentionReads(sql, tables)
        self.log_lists = LogLists(sql)
        self.registry = RegistryReads(sql, tables, tables.schemas)

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
            Compacted: it is not kept.
        """
        log = rules.find_log(self._tables, target)
        line = lineage(self._sql, log)
        seq = self._resolve(line, at)
        oldest = oldest_seq(self._sql, line)
        if not is_readable(self._sql, line, seq):
            raise rules.compacted(oldest)
        time_unix_ms = point_at(self._sql, line, seq).time_unix_ms
        checkpoint = newest_checkpoint(self._sql, line, seq) if log.checkpoint else None
        if seq == log.seq:
            state = canonical_json(self._tables.document(log).root)
            return StateRead(seq, state, log.hash, time_unix_ms, checkpoint, oldest)
        rebuilt = rebuild(self._sql, line, seq)
        self._tables.replayed += rebuilt.replayed
        state = canonical_json(rebuilt.document.root)
        return StateRead(seq, state, rebuilt.hash, time_unix_ms, checkpoint, oldest)

    def seq_at(self, target: Target, at: At) -> int:
        """The seq that a point of a log has.

        Raises:
            NotFound: the log, seq, checkpoint or time does not exist.
        """
        return self._resolve(lineage(self._sql, rules.find_log(self._tables, target)), at)

    def log(self, target: Target) -> LogRecord:
        """What is known of a log.

        Raises:
            NotFound: it does not exist.
        """
        return rules.find_log(self._tables, target)

    def mutations(self, target: Target, after_seq: int, limit: int) -> Page[MutationDecided]:
        """A log's mutations after a seq, oldest first; after 0: from the oldest that is kept.

        Raises:
            NotFound: the log does not exist.
            Compacted: what follows the seq is not kept.
        """
        log = rules.find_log(self._tables, target)
        line = lineage(self._sql, log)
        oldest = oldest_seq(self._sql, line)
        if 0 < after_seq < oldest:
            raise rules.compacted(oldest)
        after_seq = max(after_seq, oldest)
        with closing(mutations_after(self._sql, line, after_seq, limit + 1)) as events:
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
        return self._checkpoint(lineage(self._sql, rules.find_log(self._tables, target)), name)

    def checkpoints(self, target: Target, after_position: int, limit: int) -> Page[CheckpointTaken]:
        """A log's checkpoints after a position, oldest first.

        Raises:
            NotFound: the log does not exist.
        """
        line = lineage(self._sql, rules.find_log(self._tables, target))
        with closing(checkpoints_after(self._sql, line, after_position, limit + 1)) as taken:
            page = take_page(taken, limit, limits.PAGE_BYTES, event_bytes)
        self._check_order([checkpoint.position for checkpoint in page.items], after_position)
        return page

    def agents(self, namespace: str, prefix: str, after: str, limit: int) -> Page[LogRecord]:
        """The agents of a namespace, each by its first branch, by name: those with the prefix and after the name."""
        rows = self._sql.rows(
            f"{LOG_SELECT} WHERE namespace = ? AND agent >= ? AND agent < ? AND agent > ? AND branch = ?"
            " ORDER BY agent LIMIT ?",
            (namespace, prefix, prefix + AFTER_ANY_NAME, after, MAIN, limit + 1),
        )
        return Page([log_of(self._sql, row).record for row in rows[:limit]], len(rows) > limit)

    def branches(self, target: Target, after: str, limit: int) -> Page[Branch]:
        """The branches of an agent by name, `main` among them, after a name.

        Raises:
            NotFound: the agent does not exist.
        """
        rules.find_log(self._tables, target._replace(branch=MAIN))
        rows = self._sql.rows(
            f"{LOG_SELECT} WHERE namespace = ? AND agent = ? AND branch > ? ORDER BY branch LIMIT ?",
            (target.namespace, target.agent, after, limit + 1),
        )
        logs = [log_of(self._sql, row).record for row in rows[:limit]]
        names = {0: ""} | {log.number: log.target.branch for log in logs}
        for log in logs:
            if log.parent not in names:
                names[log.parent] = log_numbered(self._sql, log.parent).target.branch
        anchors = [self.retention.anchor(log) for log in logs]
        gone = [anchor.size_bytes if anchor is not None else 0 for anchor in anchors]
        listed = [Branch(log, names[log.parent], size_bytes) for log, size_bytes in zip(logs, gone, strict=True)]
        return Page(listed, len(rows) > limit)

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

    def newest_gone(self, namespace: str, agent: str | None, prefix: str | None) -> int:
        """The position of the newest mutation that retention removed, of what a watch asks for; 0: none was."""
        return self.retention.newest_gone(namespace, agent, prefix)

    def _check_order(self, positions: Sequence[int], after_position: int) -> None:
        """A damaged page may lead to others that were not asked for, or to one of them twice."""
        if any(before >= after for before, after in pairwise([after_position, *positions])):
            raise DatabaseDamaged(self._sql.path, f"positions after {after_position} are not in order")

    def _resolve(self, line: Sequence[Stretch], at: At) -> int:
        head_seq = line[0].last_seq
        match at:
            case Head():
                return head_seq
            case AtSeq():
                if at.seq > head_seq:
                    raise rules.seq_not_found(head_seq)
                return at.seq
            case AtCheckpoint():
                return self._checkpoint(line, at.name).seq
            case AtTime():
                return self._seq_at_time(line, at.time_unix_ms)
            case AtLastTurn():
                return max(self._tables.steps.last_turn_end(line[0].log), oldest_seq(self._sql, line))

    def _seq_at_time(self, line: Sequence[Stretch], time_unix_ms: int) -> int:
        oldest = oldest_anchor(self._sql, line)
        if oldest is not None and oldest.point.time_unix_ms > time_unix_ms:
            raise rules.compacted(oldest.point.seq)
        first = oldest.point.seq if oldest is not None else 0
        seq = newest_seq(self._sql, line, lambda mutation: mutation.time_unix_ms <= time_unix_ms, first)
        if seq == 0:
            raise NotFound(f"the log begins after {time_unix_ms}", reason=Reason.TIME_NOT_FOUND)
        return seq

    def _checkpoint(self, line: Sequence[Stretch], name: str) -> CheckpointTaken:
        taken = checkpoint_named(self._sql, line, name)
        if taken is None:
            raise rules.checkpoint_not_found(line[0].log.target, name)
        return taken
