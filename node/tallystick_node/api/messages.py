"""The store's values as messages of tallystick.v1.

Rules of this file: field by field, nothing is decided; group 1 is the only group there is yet (`GROUP`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tallystick.v1 import common_pb2, state_pb2
from tallystick_node.core.commands import MAIN, Target
from tallystick_node.core.outcomes import AgentDeleted, CheckpointTaken, Event, MutationDecided
from tallystick_node.core.tables import LogRecord

GROUP: Final = 1


def revision(position: int) -> common_pb2.Revision:
    """A position as clients carry it."""
    return common_pb2.Revision(group=GROUP, position=position)


def position_in(revisions: Iterable[common_pb2.Revision]) -> int:
    """The position that a session has seen of this group."""
    return max((each.position for each in revisions if each.group == GROUP), default=0)


def target(ref: common_pb2.AgentRef) -> Target:
    """The log that a reference names."""
    return Target(ref.namespace, ref.agent, ref.branch or MAIN)


def agent_ref(named: Target) -> common_pb2.AgentRef:
    """A log as a reference."""
    return common_pb2.AgentRef(namespace=named.namespace, agent=named.agent, branch=named.branch)


def mutation(decided: MutationDecided) -> state_pb2.DecidedMutation:
    """A mutation of a log."""
    return state_pb2.DecidedMutation(
        seq=decided.seq,
        mutation=state_pb2.Mutation.FromString(decided.raw),
        actor=decided.actor,
        time_unix_ms=decided.time_unix_ms,
        hash=decided.hash,
        revision=revision(decided.position),
    )


def checkpoint(taken: CheckpointTaken) -> state_pb2.CheckpointInfo:
    """A checkpoint."""
    return state_pb2.CheckpointInfo(
        name=taken.name,
        seq=taken.seq,
        step=taken.step,
        metadata=taken.metadata,
        pending_calls=taken.pending_calls,
        state_digest=taken.state_digest,
        hash=taken.hash,
        actor=taken.actor,
        time_unix_ms=taken.time_unix_ms,
        revision=revision(taken.position),
    )


def agent(log: LogRecord) -> state_pb2.AgentInfo:
    """An agent, as a listing shows it."""
    return state_pb2.AgentInfo(
        agent=agent_ref(log.target),
        seq=log.seq,
        hash=log.hash,
        time_unix_ms=log.time_unix_ms,
        checkpoint=log.checkpoint,
        revision=revision(log.position),
        log_bytes=log.log_bytes,
    )


def event(decided: Event) -> state_pb2.WatchEvent:
    """An event of the decided history."""
    ref = agent_ref(decided.target)
    match decided:
        case MutationDecided():
            return state_pb2.WatchEvent(agent=ref, mutation=mutation(decided))
        case CheckpointTaken():
            return state_pb2.WatchEvent(agent=ref, checkpoint=checkpoint(decided))
        case AgentDeleted():
            deleted = state_pb2.AgentDeleted(
                last_seq=decided.seq,
                actor=decided.actor,
                time_unix_ms=decided.time_unix_ms,
                revision=revision(decided.position),
            )
            return state_pb2.WatchEvent(agent=ref, deleted=deleted)
