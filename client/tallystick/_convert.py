"""Messages of the wire to values and back: no decision is taken here.

Rules of this file: one function for each message, named after the value; nothing imports gRPC.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError

from tallystick._events import (
    BranchDeletedEvent,
    CheckpointEvent,
    CompactedEvent,
    ContextChange,
    ContextEvent,
    DeletedEvent,
    Event,
    ForkedEvent,
    LeaseEvent,
    MutationEvent,
    PinnedEvent,
    RetentionEvent,
    SchemaEvent,
    TeamCheckpointDeletedEvent,
    TeamCheckpointEvent,
)
from tallystick._infos import AgentInfo, BranchInfo, ContextInfo, LeaseChange, LeaseInfo
from tallystick._json import decode
from tallystick._values import (
    MAIN,
    Appended,
    Checkpoint,
    DecidedMutation,
    Mutation,
    Operation,
    OperationKind,
    Revision,
    Snapshot,
    StateDigest,
)
from tallystick.causality.convert import observed, observed_message
from tallystick.errors import Corrupt
from tallystick.schemas.values import compatibility_of, subject_of
from tallystick.v1 import branch_pb2, common_pb2, context_pb2, lease_pb2, retention_pb2, schema_pb2, state_pb2

_KINDS: Final = {
    OperationKind.SET: state_pb2.OPERATION_KIND_SET,
    OperationKind.DELETE: state_pb2.OPERATION_KIND_DELETE,
    OperationKind.MERGE: state_pb2.OPERATION_KIND_MERGE,
    OperationKind.APPEND: state_pb2.OPERATION_KIND_APPEND,
    OperationKind.INSERT: state_pb2.OPERATION_KIND_INSERT,
    OperationKind.INCREMENT: state_pb2.OPERATION_KIND_INCREMENT,
    OperationKind.REPLACE: state_pb2.OPERATION_KIND_REPLACE,
}
_KINDS_BACK: Final = {number: kind for kind, number in _KINDS.items()}

_CHANGES: Final = {
    state_pb2.CONTEXT_CHANGE_CREATED: ContextChange.CREATED,
    state_pb2.CONTEXT_CHANGE_DELETED: ContextChange.DELETED,
    state_pb2.CONTEXT_CHANGE_SEALED: ContextChange.SEALED,
    state_pb2.CONTEXT_CHANGE_UNSEALED: ContextChange.UNSEALED,
    state_pb2.CONTEXT_CHANGE_EPOCH_STARTED: ContextChange.EPOCH_STARTED,
    state_pb2.CONTEXT_CHANGE_VERSION_SAVED: ContextChange.VERSION_SAVED,
}

_LEASE_CHANGES: Final = {
    lease_pb2.LEASE_CHANGE_ACQUIRED: LeaseChange.ACQUIRED,
    lease_pb2.LEASE_CHANGE_RELEASED: LeaseChange.RELEASED,
    lease_pb2.LEASE_CHANGE_EXPIRED: LeaseChange.EXPIRED,
}


def mutation_message(mutation: Mutation) -> state_pb2.Mutation:
    """A mutation as it is sent."""
    return state_pb2.Mutation(
        kind=mutation.kind,
        operations=[
            state_pb2.Operation(kind=_KINDS[operation.kind], path=operation.path, value=operation.value_json)
            for operation in mutation.operations
        ],
        payload=mutation.payload_json,
        cause=mutation.cause,
        trace_id=mutation.trace_id,
        schema_version=mutation.schema_version,
        reverts=mutation.reverts,
        id=mutation.id,
        observed=observed_message(mutation.observed) if mutation.observed is not None else None,
    )


def revision_message(revision: Revision) -> common_pb2.Revision:
    """A revision as it is sent."""
    return common_pb2.Revision(group=revision.group, position=revision.position)


def revision(message: common_pb2.Revision) -> Revision:
    """A revision that came."""
    return Revision(message.group, message.position)


def operation(message: state_pb2.Operation) -> Operation:
    """An operation of a log.

    Raises:
        Corrupt: its kind is one that this client does not know.
    """
    kind = _KINDS_BACK.get(message.kind)
    if kind is None:
        raise Corrupt(f"an operation of an unknown kind {message.kind}: is this client older than the cluster?")
    return Operation(kind, message.path, message.value)


def mutation(message: state_pb2.Mutation) -> Mutation:
    """The mutation inside a decided one."""
    return Mutation(
        kind=message.kind or "state",
        operations=tuple(map(operation, message.operations)),
        payload_json=message.payload,
        cause=message.cause,
        trace_id=message.trace_id,
        schema_version=message.schema_version,
        reverts=message.reverts,
        id=message.id,
        observed=observed(message.observed) if message.HasField("observed") else None,
    )


def decided(message: state_pb2.DecidedMutation) -> DecidedMutation:
    """An entry of a log.

    Raises:
        Corrupt: its bytes are no mutation.
    """
    try:
        inner = state_pb2.Mutation.FromString(message.raw) if message.raw else message.mutation
    except DecodeError as error:
        raise Corrupt(f"the mutation at seq {message.seq} cannot be read: {error}") from error
    return DecidedMutation(
        seq=message.seq,
        mutation=mutation(inner),
        actor=message.actor,
        time_unix_ms=message.time_unix_ms,
        hash=message.hash,
        revision=revision(message.revision),
        raw=message.raw,
    )


def appended(message: state_pb2.AppendResponse) -> Appended:
    """The answer to an append."""
    return Appended(
        first_seq=message.first_seq,
        seq=message.last_seq,
        hash=message.hash,
        revision=revision(message.revision),
        time_unix_ms=message.time_unix_ms,
        replayed=message.replayed,
    )


def checkpoint(message: state_pb2.CheckpointInfo) -> Checkpoint:
    """A checkpoint."""
    metadata, pending_calls = decode(message.metadata), decode(message.pending_calls)
    return Checkpoint(
        name=message.name,
        seq=message.seq,
        step=message.step,
        metadata=metadata if isinstance(metadata, dict) else {},
        pending_calls=pending_calls if isinstance(pending_calls, list) else [],
        state_digest=message.state_digest,
        hash=message.hash,
        actor=message.actor,
        time_unix_ms=message.time_unix_ms,
        revision=revision(message.revision),
        is_pinned=message.is_pinned,
        observed=observed(message.observed) if message.HasField("observed") else None,
    )


def snapshot(message: state_pb2.ReadResponse) -> Snapshot:
    """The answer to a read."""
    return Snapshot(
        state=decode(message.state),
        seq=message.seq,
        revision=revision(message.header.revision),
        hash=message.hash,
        time_unix_ms=message.time_unix_ms,
        checkpoint=checkpoint(message.checkpoint) if message.HasField("checkpoint") else None,
        tail=tuple(map(decided, message.tail)),
        tail_truncated=message.tail_truncated,
        age_ms=message.header.age_ms,
        open_turn=message.open_turn,
        state_version=message.state_version,
        given_version=message.state_version,
    )


def state_digest(message: state_pb2.ReadResponse) -> StateDigest:
    """The answer to a read of the digest alone.

    Raises:
        Corrupt: there is none: the node is older than this client.
    """
    if not message.state_digest:
        raise Corrupt("the node told no digest: is it older than this client?")
    return StateDigest(message.seq, message.state_digest, message.hash, revision(message.header.revision))


def agent_info(message: state_pb2.AgentInfo) -> AgentInfo:
    """An agent in a list."""
    return AgentInfo(
        name=message.agent.agent,
        seq=message.seq,
        hash=message.hash,
        time_unix_ms=message.time_unix_ms,
        checkpoint=message.checkpoint,
        revision=revision(message.revision),
        log_size_bytes=message.log_bytes,
        lease=lease_info(message.lease) if message.HasField("lease") else None,
        state_version=message.state_version,
        first_seq=message.first_seq,
    )


def lease_info(message: lease_pb2.LeaseInfo) -> LeaseInfo:
    """A lease, as it was decided."""
    return LeaseInfo(
        agent=message.agent.agent,
        branch=message.agent.branch,
        epoch=message.epoch,
        holder=message.holder,
        ttl_ms=message.ttl_ms,
        change=_LEASE_CHANGES.get(message.change),
        acquired_unix_ms=message.acquired_unix_ms,
        changed_unix_ms=message.changed_unix_ms,
        revision=revision(message.revision),
    )


def lease_event(agent: common_pb2.AgentRef, message: lease_pb2.LeaseDecided) -> LeaseEvent:
    """A change of a lease.

    Raises:
        Corrupt: it is of a kind that this client does not know.
    """
    change = _LEASE_CHANGES.get(message.change)
    if change is None:
        raise Corrupt(f"an unknown change {message.change} of a lease: is this client older than the cluster?")
    return LeaseEvent(
        agent=agent.agent,
        branch=agent.branch,
        change=change,
        epoch=message.epoch,
        holder=message.holder,
        ttl_ms=message.ttl_ms,
        actor=message.actor,
        time_unix_ms=message.time_unix_ms,
        revision=revision(message.revision),
    )


def branch_info(message: branch_pb2.BranchInfo) -> BranchInfo:
    """A branch in a list."""
    return BranchInfo(
        agent=message.agent.agent,
        name=message.agent.branch,
        parent=message.parent,
        fork_seq=message.fork_seq,
        seq=message.seq,
        hash=message.hash,
        time_unix_ms=message.time_unix_ms,
        checkpoint=message.checkpoint,
        revision=revision(message.revision),
        log_size_bytes=message.log_bytes,
    )


def forked_event(agent: common_pb2.AgentRef, message: state_pb2.BranchForked) -> ForkedEvent:
    """The beginning of a branch."""
    return ForkedEvent(
        agent=agent.agent,
        branch=agent.branch,
        parent=message.parent,
        fork_seq=message.fork_seq,
        hash=message.hash,
        actor=message.actor,
        time_unix_ms=message.time_unix_ms,
        revision=revision(message.revision),
    )


def context_info(message: context_pb2.ContextInfo) -> ContextInfo:
    """A context, as it was decided."""
    return ContextInfo(
        name=message.context.name,
        guid=message.guid,
        epoch=message.epoch,
        is_sealed=message.is_sealed,
        actor=message.actor,
        time_unix_ms=message.time_unix_ms,
        schema_json=message.schema,
        revision=revision(message.revision),
    )


def context_event(message: state_pb2.ContextDecided) -> ContextEvent:
    """What was decided of a context.

    Raises:
        Corrupt: it is of a kind that this client does not know.
    """
    change = _CHANGES.get(message.change)
    if change is None:
        raise Corrupt(f"an unknown change {message.change} of a context: is this client older than the cluster?")
    return ContextEvent(
        context=message.name,
        guid=message.guid,
        epoch=message.epoch,
        change=change,
        version=message.version,
        actor=message.actor,
        time_unix_ms=message.time_unix_ms,
        revision=revision(message.revision),
    )


def schema_event(message: schema_pb2.SchemaRegistered) -> SchemaEvent:
    """A schema's new version."""
    return SchemaEvent(
        subject=subject_of(message.subject),
        version=message.version,
        compatibility=compatibility_of(message.compatibility),
        hash=message.hash,
        actor=message.actor,
        time_unix_ms=message.time_unix_ms,
        revision=revision(message.revision),
    )


def _compacted_event(agent: common_pb2.AgentRef, message: retention_pb2.LogCompacted) -> CompactedEvent:
    return CompactedEvent(
        agent=agent.agent,
        branch=agent.branch or MAIN,
        anchor_seq=message.anchor_seq,
        hash=message.hash,
        state_digest=message.state_digest,
        mutations=message.mutations,
        checkpoints=message.checkpoints,
        actor=message.actor,
        time_unix_ms=message.time_unix_ms,
        revision=revision(message.revision),
    )


def event(message: state_pb2.WatchEvent) -> Event:
    """A watched event.

    Raises:
        Corrupt: it is of a kind that this client does not know.
    """
    agent, kind = message.agent.agent, message.WhichOneof("event")
    if kind == "mutation":
        entry = decided(message.mutation)
        return MutationEvent(agent, entry, entry.revision, message.agent.branch or MAIN)
    if kind == "checkpoint":
        point = checkpoint(message.checkpoint)
        return CheckpointEvent(agent, point, point.revision, message.agent.branch or MAIN)
    if kind == "deleted":
        end = message.deleted
        return DeletedEvent(agent, end.last_seq, end.actor, end.time_unix_ms, revision(end.revision))
    if kind == "forked":
        return forked_event(message.agent, message.forked)
    if kind == "branch_deleted":
        gone = message.branch_deleted
        return BranchDeletedEvent(
            agent, message.agent.branch, gone.last_seq, gone.actor, gone.time_unix_ms, revision(gone.revision)
        )
    if kind == "lease":
        return lease_event(message.agent, message.lease)
    if kind == "context":
        return context_event(message.context)
    if kind == "team_checkpoint":
        cut = message.team_checkpoint
        return TeamCheckpointEvent(cut.name, cut.agents, cut.hash, cut.actor, cut.time_unix_ms, revision(cut.revision))
    if kind == "team_checkpoint_deleted":
        end_of = message.team_checkpoint_deleted
        return TeamCheckpointDeletedEvent(
            end_of.name, revision(end_of.taken), end_of.actor, end_of.time_unix_ms, revision(end_of.revision)
        )
    if kind == "schema_registered":
        return schema_event(message.schema_registered)
    if kind == "compacted":
        return _compacted_event(message.agent, message.compacted)
    if kind == "checkpoint_pinned":
        pin, branch = message.checkpoint_pinned, message.agent.branch or MAIN
        return PinnedEvent(
            agent, branch, pin.name, pin.seq, pin.is_pinned, pin.actor, pin.time_unix_ms, revision(pin.revision)
        )
    if kind == "retention_set":
        kept, policy = message.retention_set, message.retention_set.policy
        bounds = (policy.max_age_s, policy.max_mutations, policy.max_log_bytes)
        return RetentionEvent(*bounds, policy.archive, kept.actor, kept.time_unix_ms, revision(kept.revision))
    raise Corrupt("an event of an unknown kind: is this client older than the cluster?")
