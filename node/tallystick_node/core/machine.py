"""The state machine: (tables, command) -> (outcome, events).

Rules of this file:
- A refusal is a value, the same on every replica, and leaves tables and states exactly as they were.
- A known key is answered before anything else is checked; a refused attempt does not use up its key.
- Time within a log never falls.
- Anything raised here that is not `Refused` is a bug or damage: the node stops.
"""

from __future__ import annotations

from dataclasses import replace

from tallystick.errors import Invalid, Refused
from tallystick_node.core import (
    branches,
    contexts,
    leases,
    payloads,
    retention,
    rules,
    schemas,
    steps,
    teams,
    transactions,
)
from tallystick_node.core.appending import advanced, appended, decide_mutations, fold
from tallystick_node.core.commands import (
    MAIN,
    AcquireLease,
    Append,
    BeginStep,
    BeginTurn,
    Checkpoint,
    Command,
    DeleteAgent,
    DeleteBranch,
    DeleteTeamCheckpoint,
    EndStep,
    EndTurn,
    ExpireLease,
    Fork,
    ForkTeam,
    ReleaseLease,
    RenewLease,
    TakeTeamCheckpoint,
    Transact,
)
from tallystick_node.core.document import Document
from tallystick_node.core.observations import observe
from tallystick_node.core.outcomes import (
    AgentDeleted,
    Applied,
    Checkpointed,
    CheckpointTaken,
    Deleted,
    MutationDecided,
    Refusal,
)
from tallystick_node.core.payload_records import CollectPayloads, PutChunks, PutPayload
from tallystick_node.core.retention_records import CompactLog, PinCheckpoint, SetRetention
from tallystick_node.core.schema_records import RegisterSchema
from tallystick_node.core.tables import LogRecord, Tables
from tallystick_node.core.values import digest_json


def apply(tables: Tables, command: Command) -> Applied:
    """Decide one command."""
    try:
        match command:
            case Append():
                return _append(tables, command)
            case Checkpoint():
                return _checkpoint(tables, command)
            case DeleteAgent():
                return _delete_agent(tables, command)
            case AcquireLease() | RenewLease() | ReleaseLease() | ExpireLease():
                return leases.decide(tables, command)
            case BeginStep() | EndStep() | BeginTurn() | EndTurn():
                return steps.decide(tables, command)
            case Fork() | ForkTeam() | DeleteBranch():
                return branches.decide(tables, command)
            case Transact():
                return transactions.decide(tables, command)
            case TakeTeamCheckpoint() | DeleteTeamCheckpoint():
                return teams.decide(tables, command)
            case PutChunks() | PutPayload() | CollectPayloads():
                return payloads.decide(tables, command)
            case SetRetention() | CompactLog() | PinCheckpoint():
                return retention.decide(tables, command)
            case RegisterSchema():
                return schemas.decide(tables, command)
            case _:
                return contexts.decide(tables, command)
    except Refused as refused:
        return Applied(Refusal(refused.reason, refused.message, refused.metadata))


def _append(tables: Tables, command: Append) -> Applied:
    log = tables.log(command.target)
    if log is None and command.target.branch != MAIN:
        raise rules.branch_not_found(command.target)
    is_new = log is None
    log = log or LogRecord(number=tables.last_log + 1, target=command.target)
    known = rules.recall(tables, log, command.idempotency, MutationDecided)
    if known is not None:
        event, remembered = known
        return Applied(appended(event, remembered.mutations, replayed=True))
    schemas.check_checked(tables, command.target, log.hash, command.schemas, command.head)
    leases.check_epoch(tables, command.target, command.epoch)
    rules.check_head(command.expected_seq, log.seq)
    if not command.mutations:
        raise Invalid("an append has at least one mutation", metadata={"field": "mutations"})
    payloads.check_mutations(tables, command.target.namespace, command.mutations)
    rising = schemas.raised(tables, log, command.mutations)
    document = Document.empty() if is_new else tables.document(log)
    try:
        fold(document, command.mutations)
    except Refused:
        document.rollback()
        raise
    document.commit()
    events = decide_mutations(log, tables.position, command.time_unix_ms, command.actor, command.mutations)
    last = events[-1]
    log = rules.remember(tables, log, command.idempotency, last.position, len(events))
    tables.add_mutations(log.number, events)
    observe(tables, log, command.mutations, events)
    schemas.save_raised(tables, log.number, rising)
    tables.save_log(advanced(log, last, command.mutations, document), document)
    payloads.refer_mutations(tables, log.number, events, command.mutations)
    return Applied(appended(last, len(events)), tuple(events))


def _checkpoint(tables: Tables, command: Checkpoint) -> Applied:
    log = rules.find_log(tables, command.target)
    known = rules.recall(tables, log, command.idempotency, CheckpointTaken)
    if known is not None:
        event, _ = known
        return Applied(Checkpointed(event.position, event, replayed=True))
    leases.check_epoch(tables, command.target, command.epoch)
    if tables.has_checkpoint(log, command.name):
        raise rules.checkpoint_exists(command.name)
    rules.check_head(command.expected_seq, log.seq)
    payloads.check(tables, command.target.namespace, command.payloads, {})
    document = tables.document(log)
    taken = CheckpointTaken(
        position=tables.position + 1,
        target=command.target,
        seq=log.seq,
        time_unix_ms=max(log.time_unix_ms, command.time_unix_ms),
        actor=command.actor,
        hash=log.hash,
        name=command.name,
        step=command.step,
        metadata=command.metadata,
        pending_calls=command.pending_calls,
        state_digest=digest_json(document.root),
        observed=command.observed,
    )
    log = rules.remember(tables, log, command.idempotency, taken.position)
    tables.add_checkpoint(log.number, taken)
    log = replace(log, time_unix_ms=taken.time_unix_ms, position=taken.position, checkpoint=taken.name)
    tables.save_log(log, document)
    payloads.refer(tables, command.target.namespace, log.number, taken.seq, command.payloads)
    return Applied(Checkpointed(taken.position, taken), (taken,))


def _delete_agent(tables: Tables, command: DeleteAgent) -> Applied:
    known = rules.recall_deletion(tables, command.target, command.idempotency, AgentDeleted)
    if known is not None:
        return Applied(Deleted(known.position, known.seq, known.time_unix_ms, replayed=True))
    log = rules.find_log(tables, command.target)
    branches.check_is_agent(log)
    rules.check_unused_key(tables, log, command.idempotency)
    leases.check_epoch(tables, command.target, command.epoch)
    rules.check_head(command.expected_seq, log.seq)
    ended = leases.end_with_agent(tables, command)
    payloads.end_with_agent(tables, command.target, command.time_unix_ms)
    time_unix_ms = max(log.time_unix_ms, command.time_unix_ms)
    deleted = AgentDeleted(tables.position + 1, command.target, log.seq, time_unix_ms, command.actor)
    tables.delete_agent(log, deleted, command.idempotency)
    return Applied(Deleted(deleted.position, deleted.seq, deleted.time_unix_ms), (*ended, deleted))
