"""Events from rows: the decided history, a log's mutations, its checkpoints.

A row of `events` bears what all events have; what a checkpoint or a deletion has besides stands in a table of its own.
"""

from __future__ import annotations

from typing import Final

from tallystick_node.core.commands import Target
from tallystick_node.core.outcomes import AgentDeleted, CheckpointTaken, Event, MutationDecided
from tallystick_node.storage.schema import CHECKPOINT, DELETION, MUTATION
from tallystick_node.storage.sql import DatabaseDamaged, Row, Sql

EVENT_SELECT: Final = (
    "SELECT e.kind, e.position, e.seq, e.time_unix_ms, e.actor, e.hash, e.body, l.namespace, l.agent, l.branch"
    " FROM events AS e LEFT JOIN logs AS l ON l.number = e.log"
)
"""Begins a statement whose rows `event_of` reads."""

CHECKPOINT_SELECT: Final = (
    "SELECT c.position, c.seq, e.time_unix_ms, e.actor, e.hash, c.name, c.step, c.metadata, c.pending_calls,"
    " c.state_digest FROM checkpoints AS c JOIN events AS e ON e.position = c.position"
)
"""Begins a statement whose rows `checkpoint_of` reads."""


def event_of(sql: Sql, row: Row) -> Event:
    """An event from a row of `EVENT_SELECT`.

    Raises:
        DatabaseDamaged: a part of it is missing.
    """
    kind, position, seq, time_unix_ms, actor, hash_, body, namespace, agent, branch = row
    if kind == DELETION:
        found = sql.row("SELECT namespace, agent, branch FROM deletions WHERE position = ?", (position,))
        if found is not None:
            return AgentDeleted(position, Target(*found), seq, time_unix_ms, actor)
    elif namespace is not None:
        target = Target(namespace, agent, branch)
        if kind == MUTATION:
            return MutationDecided(position, target, seq, time_unix_ms, actor, hash_, body)
        if kind == CHECKPOINT:
            found = sql.row(f"{CHECKPOINT_SELECT} WHERE c.position = ?", (position,))
            if found is not None:
                return checkpoint_of(target, found)
    raise DatabaseDamaged(sql.path, f"the event at position {position}, of kind {kind}, lacks its other half")


def checkpoint_of(target: Target, row: Row) -> CheckpointTaken:
    """A checkpoint from a row of `CHECKPOINT_SELECT`."""
    position, seq, *rest = row
    return CheckpointTaken(position, target, seq, *rest)


def event_bytes(event: Event) -> int:
    """What an event counts for where pages are bounded by bytes."""
    match event:
        case MutationDecided():
            return len(event.raw)
        case CheckpointTaken():
            return len(event.metadata) + len(event.pending_calls)
        case AgentDeleted():
            return 0
