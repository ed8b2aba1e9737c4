"""The store's values as messages of tallystick.v1.

Rules of this file: field by field, nothing is decided; group 1 is the only group there is yet (`GROUP`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tallystick.v1 import common_pb2, context_pb2, lease_pb2, schema_pb2, state_pb2
from tallystick_node.api import retention_messages
from tallystick_node.core.commands import MAIN, Target
from tallystick_node.core.outcomes import (
    AgentDeleted,
    BranchDeleted,
    BranchForked,
    CheckpointTaken,
    ContextDecided,
    ContextRecord,
    Event,
    LeaseDecided,
    LeaseRecord,
    MutationDecided,
    TeamCheckpointDeleted,
    TeamCheckpointTaken,
    VersionRecord,
    WritersAllocated,
)
from tallystick_node.core.payload_records import PayloadDecided, PayloadsCollected
from tallystick_node.core.retention_records import Anchor, CheckpointPinned, LogCompacted, RetentionSet
from tallystick_node.core.schema_records import SchemaOf, SchemaRegistered, Subject
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


def mutation(decided: MutationDecided, *, raw: bool = False) -> state_pb2.DecidedMutation:
    """A mutation of a log; `raw`: as the bytes that were hashed."""
    return state_pb2.DecidedMutation(
        seq=decided.seq,
        mutation=None if raw else state_pb2.Mutation.FromString(decided.raw),
        raw=decided.raw if raw else b"",
        actor=decided.actor,
        time_unix_ms=decided.time_unix_ms,
        hash=decided.hash,
        revision=revision(decided.position),
    )


def checkpoint(taken: CheckpointTaken, *, is_pinned: bool = False) -> state_pb2.CheckpointInfo:
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
        observed=common_pb2.Observed.FromString(taken.observed) if taken.observed else None,
        is_pinned=is_pinned,
    )


def agent(
    log: LogRecord, held: LeaseRecord | None = None, anchor: Anchor | None = None, state_version: int = 0
) -> state_pb2.AgentInfo:
    """An agent, as a listing shows it, with its lease if there ever was one, from its anchor on, and the version of its
    state's schema."""
    return state_pb2.AgentInfo(
        agent=agent_ref(log.target),
        seq=log.seq,
        hash=log.hash,
        time_unix_ms=log.time_unix_ms,
        checkpoint=log.checkpoint,
        revision=revision(log.position),
        log_bytes=log.log_bytes - (anchor.size_bytes if anchor is not None else 0),
        lease=lease(held) if held is not None else None,
        first_seq=(anchor.point.seq if anchor is not None else 0) + 1,
        state_version=state_version,
    )


def lease(record: LeaseRecord) -> lease_pb2.LeaseInfo:
    """A lease as it was decided; the numbers of the changes are the wire's."""
    return lease_pb2.LeaseInfo(
        agent=agent_ref(record.target),
        epoch=record.epoch,
        holder=record.holder,
        ttl_ms=record.ttl_ms,
        change=lease_pb2.LeaseChange.ValueType(record.change),
        acquired_unix_ms=record.acquired_unix_ms,
        changed_unix_ms=record.changed_unix_ms,
        revision=revision(record.position),
    )


def no_lease(named: Target) -> lease_pb2.LeaseInfo:
    """The lease of a log that was never acquired."""
    return lease_pb2.LeaseInfo(agent=agent_ref(named))


def lease_decided(decided: LeaseDecided) -> lease_pb2.LeaseDecided:
    """A change of a lease."""
    return lease_pb2.LeaseDecided(
        change=lease_pb2.LeaseChange.ValueType(decided.change),
        epoch=decided.epoch,
        holder=decided.holder,
        ttl_ms=decided.ttl_ms,
        actor=decided.actor,
        time_unix_ms=decided.time_unix_ms,
        revision=revision(decided.position),
    )


def forked(decided: BranchForked) -> state_pb2.BranchForked:
    """The beginning of a branch."""
    return state_pb2.BranchForked(
        parent=decided.parent,
        fork_seq=decided.seq,
        hash=decided.hash,
        actor=decided.actor,
        time_unix_ms=decided.time_unix_ms,
        revision=revision(decided.position),
    )


def context_decided(decided: ContextDecided) -> state_pb2.ContextDecided:
    """What was decided of a context; the numbers of the changes are the wire's."""
    return state_pb2.ContextDecided(
        namespace=decided.namespace,
        name=decided.name,
        guid=decided.guid,
        epoch=decided.epoch,
        change=state_pb2.ContextChange.ValueType(decided.change),
        version=decided.version,
        actor=decided.actor,
        time_unix_ms=decided.time_unix_ms,
        revision=revision(decided.position),
    )


def schema_subject(subject: Subject) -> schema_pb2.SchemaSubject:
    """What a schema is of."""
    if subject.of is SchemaOf.EVENT:
        return schema_pb2.SchemaSubject(event_kind=subject.name)
    return schema_pb2.SchemaSubject(state_prefix=subject.name)


def schema_registered(decided: SchemaRegistered) -> schema_pb2.SchemaRegistered:
    """A version that was registered; the numbers of compatibility are the wire's."""
    return schema_pb2.SchemaRegistered(
        namespace=decided.namespace,
        subject=schema_subject(decided.subject),
        version=decided.version,
        compatibility=schema_pb2.SchemaCompatibility.ValueType(decided.compatibility),
        hash=decided.hash,
        actor=decided.actor,
        time_unix_ms=decided.time_unix_ms,
        revision=revision(decided.position),
    )


def context_info(record: ContextRecord) -> context_pb2.ContextInfo:
    """A document as it was decided."""
    return context_pb2.ContextInfo(
        context=context_pb2.ContextRef(namespace=record.namespace, name=record.name),
        guid=record.guid,
        epoch=record.epoch,
        is_sealed=record.is_sealed,
        actor=record.actor,
        time_unix_ms=record.time_unix_ms,
        schema=record.schema,
        revision=revision(record.position),
    )


def version_info(version: VersionRecord) -> context_pb2.VersionInfo:
    """A named version, without its content."""
    return context_pb2.VersionInfo(
        name=version.name,
        cursor=context_pb2.Cursor.FromString(version.cursor),
        actor=version.actor,
        agent=agent_ref(version.target) if version.target is not None else None,
        checkpoint=version.checkpoint,
        time_unix_ms=version.time_unix_ms,
        size_bytes=version.size_bytes,
        revision=revision(version.position),
    )


def event(decided: Event) -> state_pb2.WatchEvent:
    """An event of the decided history."""
    match decided:
        case MutationDecided():
            return state_pb2.WatchEvent(agent=agent_ref(decided.target), mutation=mutation(decided))
        case CheckpointTaken():
            return state_pb2.WatchEvent(agent=agent_ref(decided.target), checkpoint=checkpoint(decided))
        case BranchForked():
            return state_pb2.WatchEvent(agent=agent_ref(decided.target), forked=forked(decided))
        case BranchDeleted():
            ended = state_pb2.BranchDeleted(
                last_seq=decided.seq,
                actor=decided.actor,
                time_unix_ms=decided.time_unix_ms,
                revision=revision(decided.position),
            )
            return state_pb2.WatchEvent(agent=agent_ref(decided.target), branch_deleted=ended)
        case LeaseDecided():
            return state_pb2.WatchEvent(agent=agent_ref(decided.target), lease=lease_decided(decided))
        case ContextDecided():
            return state_pb2.WatchEvent(context=context_decided(decided))
        case SchemaRegistered():
            return state_pb2.WatchEvent(schema_registered=schema_registered(decided))
        case TeamCheckpointTaken():
            taken = state_pb2.TeamCheckpointTaken(
                namespace=decided.namespace,
                name=decided.name,
                agents=decided.agents,
                hash=decided.hash,
                actor=decided.actor,
                time_unix_ms=decided.time_unix_ms,
                revision=revision(decided.position),
            )
            return state_pb2.WatchEvent(team_checkpoint=taken)
        case TeamCheckpointDeleted():
            gone = state_pb2.TeamCheckpointDeleted(
                namespace=decided.namespace,
                name=decided.name,
                taken=revision(decided.taken),
                actor=decided.actor,
                time_unix_ms=decided.time_unix_ms,
                revision=revision(decided.position),
            )
            return state_pb2.WatchEvent(team_checkpoint_deleted=gone)
        case WritersAllocated() | PayloadDecided() | PayloadsCollected():
            raise AssertionError("no filter wants it")
        case LogCompacted():
            went = retention_messages.compacted(decided, revision(decided.position))
            return state_pb2.WatchEvent(agent=agent_ref(decided.target), compacted=went)
        case CheckpointPinned():
            pin = retention_messages.pinned(decided, revision(decided.position))
            return state_pb2.WatchEvent(agent=agent_ref(decided.target), checkpoint_pinned=pin)
        case RetentionSet():
            kept = retention_messages.retention_set(decided, revision(decided.position))
            return state_pb2.WatchEvent(retention_set=kept)
        case AgentDeleted():
            deleted = state_pb2.AgentDeleted(
                last_seq=decided.seq,
                actor=decided.actor,
                time_unix_ms=decided.time_unix_ms,
                revision=revision(decided.position),
            )
            return state_pb2.WatchEvent(agent=agent_ref(decided.target), deleted=deleted)
