"""The client's values as JSON for programs, and in short for people. Field names are the words of the wire."""

from __future__ import annotations

from tallystick import (
    AgentInfo,
    BranchDeletedEvent,
    BranchInfo,
    Checkpoint,
    CheckpointEvent,
    CompactedEvent,
    ContextEvent,
    DecidedMutation,
    DeletedEvent,
    Event,
    ForkedEvent,
    LeaseEvent,
    LeaseInfo,
    MutationEvent,
    Observed,
    Operation,
    OperationKind,
    PinnedEvent,
    RetentionEvent,
    Schema,
    SchemaEvent,
    Snapshot,
    Step,
    TeamCheckpoint,
    TeamCheckpointDeletedEvent,
    TeamCheckpointEvent,
)
from tallystick_node.cli import retention_events
from tallystick_node.cli.output import clock, compact_json

Record = dict[str, object]


def agent_info(info: AgentInfo) -> Record:
    """An agent in a list."""
    return {
        "agent": info.name,
        "seq": info.seq,
        "hash": info.hash.hex(),
        "time": clock(info.time),
        "checkpoint": info.checkpoint or None,
        "revision": str(info.revision),
        "log_size_bytes": info.log_size_bytes,
        "first_seq": info.first_seq,
        "state_version": info.state_version,
        "lease": None if info.lease is None else lease(info.lease),
    }


def branch_info(info: BranchInfo) -> Record:
    """A branch in a list."""
    return {
        "agent": info.agent,
        "branch": info.name,
        "parent": info.parent or None,
        "fork_seq": info.fork_seq,
        "seq": info.seq,
        "hash": info.hash.hex(),
        "time": clock(info.time),
        "checkpoint": info.checkpoint or None,
        "revision": str(info.revision),
        "log_size_bytes": info.log_size_bytes,
    }


def event(event: Event) -> Record:
    """What was decided; `type` is mutation, checkpoint, deleted, forked, branch deleted, lease, context, team
    checkpoint, schema, or one of those of `retention_events.py`."""
    if isinstance(event, MutationEvent):
        return {"type": "mutation", "agent": event.agent, "branch": event.branch, **mutation(event.mutation)}
    if isinstance(event, CheckpointEvent):
        return {"type": "checkpoint", "agent": event.agent, "branch": event.branch, **checkpoint(event.checkpoint)}
    if isinstance(event, ContextEvent):
        return {"type": "context", **_context(event)}
    if isinstance(event, TeamCheckpointEvent):
        return {"type": "team checkpoint", **_team_event(event)}
    if isinstance(event, TeamCheckpointDeletedEvent):
        return {"type": "team checkpoint deleted", **_team_end(event)}
    if isinstance(event, SchemaEvent):
        return {"type": "schema", **_registered(event)}
    if isinstance(event, LeaseEvent):
        return {"type": "lease", "agent": event.agent, **_lease_change(event)}
    if isinstance(event, ForkedEvent):
        return {"type": "forked", "agent": event.agent, "branch": event.branch, **_forked(event)}
    if isinstance(event, BranchDeletedEvent):
        return {"type": "branch deleted", "agent": event.agent, "branch": event.branch, **_deleted(event)}
    if isinstance(event, (CompactedEvent, PinnedEvent, RetentionEvent)):
        return retention_events.record(event)
    return {"type": "deleted", "agent": event.agent, **_deleted(event)}


def mutation(decided: DecidedMutation) -> Record:
    """An entry of a log: `operations` of a change of the state, `payload` of a custom event."""
    content: Record = (
        {"operations": [_operation(operation) for operation in decided.operations]}
        if decided.kind == "state"
        else {"payload": decided.payload}
    )
    return {
        "seq": decided.seq,
        "kind": decided.kind,
        **content,
        "cause": decided.cause,
        "trace_id": decided.mutation.trace_id,
        "schema_version": decided.mutation.schema_version,
        "actor": decided.actor,
        "time": clock(decided.time),
        "hash": decided.hash.hex(),
        "revision": str(decided.revision),
        **_observed(decided.mutation.observed),
    }


def _observed(observed: Observed | None) -> Record:
    """What was read, where that was told."""
    if observed is None:
        return {}
    logs = [{"agent": each.agent, "branch": each.branch, "seq": each.seq} for each in observed.logs]
    return {"observed": {"logs": logs, "contexts": [each.name for each in observed.contexts]}}


def checkpoint(made: Checkpoint) -> Record:
    """A named point of a log."""
    return {
        "name": made.name,
        "seq": made.seq,
        "step": made.step,
        "metadata": made.metadata,
        "pending_calls": made.pending_calls,
        "state_digest": made.state_digest.hex(),
        "hash": made.hash.hex(),
        "actor": made.actor,
        "time": clock(made.time),
        "revision": str(made.revision),
        "is_pinned": made.is_pinned,
        **_observed(made.observed),
    }


def snapshot(snapshot: Snapshot) -> Record:
    """A state and the point that it belongs to."""
    return {
        "seq": snapshot.seq,
        "hash": snapshot.hash.hex(),
        "time": None if snapshot.time is None else clock(snapshot.time),
        "revision": str(snapshot.revision),
        "checkpoint": None if snapshot.checkpoint is None else checkpoint(snapshot.checkpoint),
        "state_version": snapshot.state_version,
        "state": snapshot.state,
    }


def step(found: Step) -> Record:
    """A step, as its newest attempt."""
    error = found.error
    return {
        "step": found.name,
        "status": str(found.status),
        "attempt": found.attempt,
        "effect_key": found.effect_key,
        "actor": found.actor,
        "epoch": found.epoch,
        "begun_seq": found.begun_seq,
        "begun": clock(found.begun),
        "ended_seq": found.ended_seq or None,
        "ended": None if found.ended is None else clock(found.ended),
        "revision": str(found.revision),
        "result": found.result,
        "error": None if error is None else {"type": error.type, "message": error.message},
    }


def summary(decided: DecidedMutation, limit: int) -> str:
    """What a mutation does, on one line: `set /next 2; append /done 1`."""
    if decided.kind != "state":
        return compact_json(decided.payload, limit)
    text = "; ".join(_words(operation, limit) for operation in decided.operations)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _words(operation: Operation, limit: int) -> str:
    value = "" if operation.kind is OperationKind.DELETE else " " + compact_json(operation.value, limit)
    return f"{operation.kind} {operation.path or '(all)'}{value}"


def _operation(operation: Operation) -> Record:
    made: Record = {"kind": str(operation.kind), "path": operation.path}
    return made if operation.kind is OperationKind.DELETE else {**made, "value": operation.value}


def _context(event: ContextEvent) -> Record:
    return {
        "context": event.context,
        "guid": event.guid.hex(),
        "epoch": event.epoch,
        "change": str(event.change),
        "version": event.version or None,
        "actor": event.actor,
        "time": clock(event.time),
        "revision": str(event.revision),
    }


def lease(info: LeaseInfo) -> Record:
    """A lease as it was decided."""
    return {
        "agent": info.agent,
        "branch": info.branch,
        "epoch": info.epoch,
        "holder": info.holder,
        "ttl_ms": info.ttl_ms,
        "change": None if info.change is None else str(info.change),
        "is_held": info.is_held,
        "since": clock(info.since) if info.change else None,
        "revision": str(info.revision),
    }


def team_checkpoint(cut: TeamCheckpoint) -> Record:
    """A cut through a team; `members` is empty in a list of cuts."""
    return {
        "cut": cut.name,
        "prefix": cut.prefix,
        "branch": cut.branch or None,
        "agents": cut.agents,
        "members": [
            {
                "agent": member.agent,
                "branch": member.branch,
                "seq": member.seq,
                "hash": member.hash.hex(),
                "state_digest": member.state_digest.hex(),
            }
            for member in cut.members
        ],
        "contexts": sorted(cut.contexts),
        "metadata": cut.metadata,
        "hash": cut.hash.hex(),
        "actor": cut.actor,
        "time": clock(cut.time),
        "revision": str(cut.revision),
    }


def _team_event(event: TeamCheckpointEvent) -> Record:
    return {
        "cut": event.name,
        "agents": event.agents,
        "hash": event.hash.hex(),
        "actor": event.actor,
        "time": clock(event.time),
        "revision": str(event.revision),
    }


def _team_end(event: TeamCheckpointDeletedEvent) -> Record:
    return {
        "cut": event.name,
        "taken": str(event.taken),
        "actor": event.actor,
        "time": clock(event.time),
        "revision": str(event.revision),
    }


def schema(schema: Schema) -> Record:
    """A version of a schema; `document` is null in a list."""
    return {**_registered(schema), "document": schema.document}


def _registered(schema: Schema | SchemaEvent) -> Record:
    return {
        "subject": str(schema.subject),
        "version": schema.version,
        "compatibility": str(schema.compatibility),
        "hash": schema.hash.hex(),
        "actor": schema.actor,
        "time": clock(schema.time),
        "revision": str(schema.revision),
    }


def _lease_change(event: LeaseEvent) -> Record:
    return {
        "branch": event.branch,
        "change": str(event.change),
        "epoch": event.epoch,
        "holder": event.holder,
        "ttl_ms": event.ttl_ms,
        "actor": event.actor,
        "time": clock(event.time),
        "revision": str(event.revision),
    }


def _forked(event: ForkedEvent) -> Record:
    return {
        "parent": event.parent,
        "fork_seq": event.fork_seq,
        "hash": event.hash.hex(),
        "actor": event.actor,
        "time": clock(event.time),
        "revision": str(event.revision),
    }


def _deleted(event: DeletedEvent | BranchDeletedEvent) -> Record:
    return {
        "last_seq": event.last_seq,
        "actor": event.actor,
        "time": clock(event.time),
        "revision": str(event.revision),
    }
