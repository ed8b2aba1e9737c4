"""Events from rows: the decided history, a log's mutations, its checkpoints.

A row of `events` bears what all events have; what a checkpoint or a deletion has besides stands in a table of its own,
and what an event of leases, contexts, teams or schemas, or the beginning of a branch, has besides in its body; there
too what a checkpoint says was read.
"""

from __future__ import annotations

from typing import Final

from tallystick_node.core.commands import Target
from tallystick_node.core.outcomes import (
    AgentDeleted,
    BranchDeleted,
    BranchForked,
    CheckpointTaken,
    ContextDecided,
    Event,
    LeaseDecided,
    MutationDecided,
    TeamCheckpointDeleted,
    TeamCheckpointTaken,
    WritersAllocated,
)
from tallystick_node.core.payload_records import PayloadDecided, PayloadsCollected
from tallystick_node.core.retention_records import CheckpointPinned, LogCompacted, RetentionSet
from tallystick_node.core.schema_records import SchemaRegistered
from tallystick_node.storage.context_rows import context_decided_of, writers_allocated_of
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.lease_rows import lease_decided_of
from tallystick_node.storage.payload_rows import payload_decided_of, payloads_collected_of
from tallystick_node.storage.registry_rows import schema_registered_of
from tallystick_node.storage.retention_rows import checkpoint_pinned_of, log_compacted_of, retention_set_of
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
from tallystick_node.storage.sql import Row, Sql
from tallystick_node.storage.sums import Column, check_event, check_sum
from tallystick_node.storage.team_rows import team_checkpoint_deleted_of, team_checkpoint_taken_of

EVENT_COLUMNS: Final = (
    "e.position, e.log, e.kind, e.seq, e.time_unix_ms, e.actor, e.hash, e.body, e.sum, l.namespace, l.agent, l.branch"
)
"""What `event_of` reads."""

EVENT_SELECT: Final = f"SELECT {EVENT_COLUMNS} FROM events AS e LEFT JOIN logs AS l ON l.number = e.log"  # noqa: S608
"""Begins a statement whose rows `event_of` reads."""

REMAINS_SELECT: Final = EVENT_SELECT.replace("FROM events", "FROM remains")
"""The same, of what is left of mutations that went."""

MUTATION_SELECT: Final = (
    "SELECT position, log, kind, seq, time_unix_ms, actor, hash, body, sum FROM events WHERE kind = 1"
)
"""Begins a statement whose rows `mutation_of` reads."""

CHECKPOINT_SELECT: Final = (
    "SELECT c.position, c.log, c.seq, c.name, c.step, c.metadata, c.pending_calls, c.state_digest, c.sum,"
    " e.time_unix_ms, e.actor, e.hash, e.body FROM checkpoints AS c LEFT JOIN events AS e ON e.position = c.position"
)
"""Begins a statement whose rows `checkpoint_of` reads."""


def event_of(sql: Sql, row: Row) -> Event:
    """An event from a row of `EVENT_SELECT`.

    Raises:
        DatabaseDamaged: it is not what was written, or a part of it is missing.
    """
    *columns, stored, namespace, agent, branch = row
    position, log, kind, seq, time_unix_ms, actor, hash_, body = columns
    names: Row = (namespace, agent, branch)
    if kind in {DELETION, BRANCH_DELETED}:
        names = sql.row("SELECT namespace, agent, branch FROM deletions WHERE position = ?", (position,)) or names
    check_event(sql.path, stored, tuple(columns), *names)
    target = Target(*names)
    if kind == MUTATION:
        return MutationDecided(position, target, seq, time_unix_ms, actor, hash_, body)
    if kind == DELETION:
        return AgentDeleted(position, target, seq, time_unix_ms, actor)
    if kind == LEASE:
        return lease_decided_of(position, seq, time_unix_ms, actor, body)
    if kind == FORK:
        return BranchForked(position, target, seq, time_unix_ms, actor, hash_, body.decode())
    if kind == BRANCH_DELETED:
        return BranchDeleted(position, target, seq, time_unix_ms, actor)
    if kind == CONTEXT:
        return context_decided_of(position, seq, time_unix_ms, actor, hash_, body)
    if kind == WRITERS:
        return writers_allocated_of(position, seq, time_unix_ms, actor, body)
    if kind == TEAM_CHECKPOINT:
        return team_checkpoint_taken_of(position, seq, time_unix_ms, actor, hash_, body)
    if kind == TEAM_CHECKPOINT_DELETED:
        return team_checkpoint_deleted_of(position, seq, time_unix_ms, actor, body)
    if kind == PAYLOAD:
        return payload_decided_of(position, seq, time_unix_ms, actor, hash_, body)
    if kind == PAYLOADS_COLLECTED:
        return payloads_collected_of(position, seq, time_unix_ms, actor, hash_, body)
    if kind == COMPACTED:
        return log_compacted_of(position, target, seq, time_unix_ms, actor, hash_, body)
    if kind == PINNED:
        return checkpoint_pinned_of(position, target, seq, time_unix_ms, actor, body)
    if kind == RETENTION:
        return retention_set_of(position, time_unix_ms, actor, body)
    if kind == SCHEMA:
        return schema_registered_of(position, seq, time_unix_ms, actor, hash_, body)
    found = sql.row(f"{CHECKPOINT_SELECT} WHERE c.position = ?", (position,))
    if kind != CHECKPOINT or found is None:
        raise DatabaseDamaged(sql.path, f"the event at position {position}, of kind {kind}, lacks its other half")
    return checkpoint_of(sql, log, target, found)


def find_event(sql: Sql, position: int) -> Event | None:
    """The event at a position, or what is left of a mutation that went; None: nothing is.

    Raises:
        DatabaseDamaged: it is not what was written.
    """
    row = sql.row(f"{EVENT_SELECT} WHERE e.position = ?", (position,))
    if row is None:
        row = sql.row(f"{REMAINS_SELECT} WHERE e.position = ?", (position,))
    return event_of(sql, row) if row is not None else None


def mutation_of(sql: Sql, target: Target, row: Row) -> MutationDecided:
    """A mutation of a log from a row of `MUTATION_SELECT`.

    Raises:
        DatabaseDamaged: it is not what was written.
    """
    *columns, stored = row
    position, _, kind, seq, time_unix_ms, actor, hash_, body = columns
    check_event(sql.path, stored, tuple(columns), *target)
    if kind != MUTATION:  # an index led to another row than it should
        raise DatabaseDamaged(sql.path, f"the event at position {position} is no mutation")
    return MutationDecided(position, target, seq, time_unix_ms, actor, hash_, body)


def checkpoint_of(sql: Sql, log_number: int, target: Target, row: Row) -> CheckpointTaken:
    """A checkpoint of a log from a row of `CHECKPOINT_SELECT`.

    Raises:
        DatabaseDamaged: it is not what was written.
    """
    *columns, stored, time_unix_ms, actor, hash_, observed = row
    position, log, seq, *rest = columns
    more = checkpoint_more(time_unix_ms, actor, hash_, observed)
    check_sum(sql.path, f"the checkpoint at position {position}", stored, *columns, *more)
    if log != log_number:
        raise DatabaseDamaged(sql.path, f"the checkpoint at position {position} is not of log {log_number}")
    return CheckpointTaken(position, target, seq, time_unix_ms, actor, hash_, *rest)._replace(observed=observed)


def checkpoint_more(time_unix_ms: Column, actor: Column, hash_: Column, observed: Column) -> tuple[Column, ...]:
    """What the sum of a checkpoint's row covers of its event; of an older build there is nothing that was read."""
    return (time_unix_ms, actor, hash_, observed) if observed else (time_unix_ms, actor, hash_)


def event_bytes(event: Event) -> int:
    """What an event counts for where pages are bounded by bytes."""
    match event:
        case MutationDecided():
            return len(event.raw)
        case CheckpointTaken():
            return len(event.metadata) + len(event.pending_calls) + len(event.observed)
        case AgentDeleted() | BranchForked() | BranchDeleted() | LeaseDecided() | ContextDecided():
            return 0
        case WritersAllocated() | TeamCheckpointTaken() | TeamCheckpointDeleted():
            return 0
        case (
            PayloadDecided()
            | PayloadsCollected()
            | LogCompacted()
            | CheckpointPinned()
            | RetentionSet()
            | SchemaRegistered()
        ):
            return 0
