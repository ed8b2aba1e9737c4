"""What is decided of retention: (tables, command) -> (outcome, events).

Rules of this file:
- A log loses its oldest own mutations, up to its anchor: the state there is kept, and its hash, so that what is kept
  leads on from it. The anchor only moves forward.
- Who proposes a compaction has counted with a state that may be old. What nothing may lose is checked here, when it is
  decided: the anchor goes as far as that allows.
- Nothing that was answered is forgotten by it: a retry is answered as before, a completed step has its result.
- What a pinned checkpoint or a cut through a team names is kept whole, by itself; so is where a branch began, for as
  long as that lives: merging starts there.
- Neither a lease nor an expected seq is asked for: the log's head, and what is decided of it, stay as they are.
"""

from __future__ import annotations

from typing import assert_never

from tallystick.errors import Conflict
from tallystick_node.core import limits, payloads, rules
from tallystick_node.core.outcomes import Applied
from tallystick_node.core.payload_names import payloads_named
from tallystick_node.core.retention_records import (
    Anchor,
    CheckpointPinned,
    Compacted,
    CompactLog,
    Hold,
    HoldKind,
    KeptState,
    LogCompacted,
    PinChanged,
    PinCheckpoint,
    RetentionChanged,
    RetentionCommand,
    RetentionRecord,
    RetentionSet,
    SetRetention,
)
from tallystick_node.core.tables import LogRecord, Tables


def decide(tables: Tables, command: RetentionCommand) -> Applied:
    """Decide one command on retention.

    Raises:
        Refused: decided: no. Nothing was changed.
    """
    match command:
        case SetRetention():
            return _set(tables, command)
        case CompactLog():
            return _compact(tables, command)
        case PinCheckpoint():
            return _pin(tables, command)
    assert_never(command)


def holds(tables: Tables, log: LogRecord) -> list[Hold]:
    """What the log's anchor may not be past, least first.

    Held are, for the log and for each branch that shares it: where the branch began; where the last turn ended, or what
    was before the open one if none ended, for there an agent resumes; and the newest checkpoint while a lease is held,
    for the same reason. A holder without checkpoint or turn resumes at the head, which is always there.
    """
    found: list[Hold] = []
    held = {lease.target: lease for lease in tables.leases.held_of_agent(log.target.namespace, log.target.agent)}
    for user, shared_seq in tables.retention.users(log):
        branch = user.target.branch
        if user.number != log.number:
            found.append(Hold(HoldKind.BRANCH, shared_seq, branch))
        turn_seq = _resumed_turn(tables, user)
        if turn_seq is not None:
            found.append(Hold(HoldKind.TURN, turn_seq, branch))
        lease = held.get(user.target)
        checkpoint_seq = _resumed_checkpoint(tables, user) if lease is not None else None
        if lease is not None and checkpoint_seq is not None:
            found.append(Hold(HoldKind.LEASE, checkpoint_seq, lease.holder))
    return sorted(found, key=lambda hold: (hold.seq, hold.kind, hold.detail))


def _resumed_turn(tables: Tables, log: LogRecord) -> int | None:
    """Where an agent that resumes at its last turn begins; None: it has no turns, or none since what is kept begins."""
    turn = tables.steps.newest_turn(log)
    if turn is None:
        return None
    seq = turn.ended_seq or tables.retention.last_turn_end(log) or turn.begun_seq - 1
    oldest = tables.retention.oldest(log)
    return seq if oldest is None or seq >= oldest.point.seq else None


def _resumed_checkpoint(tables: Tables, log: LogRecord) -> int | None:
    """The newest checkpoint, if all that followed it is there."""
    taken = tables.retention.newest_checkpoint(log)
    oldest = tables.retention.oldest(log)
    if taken is None or (oldest is not None and taken.seq < oldest.point.seq):
        return None
    return taken.seq


def _set(tables: Tables, command: SetRetention) -> Applied:
    known = tables.retention.policy(command.namespace)
    if known is not None and known.policy == command.policy:
        return Applied(RetentionChanged(known.position, known, replayed=True))
    time_unix_ms = max(command.time_unix_ms, known.time_unix_ms if known is not None else 0)
    event = RetentionSet(tables.position + 1, command.namespace, command.policy, time_unix_ms, command.actor)
    record = RetentionRecord(command.namespace, command.policy, time_unix_ms, event.position, command.actor)
    tables.retention.save_policy(record)
    tables.add_event(event)
    return Applied(RetentionChanged(event.position, record), (event,))


def _compact(tables: Tables, command: CompactLog) -> Applied:
    log = rules.find_log(tables, command.target)
    retention = tables.retention
    before = retention.anchor(log)
    gone_seq = before.point.seq if before is not None else log.fork_seq
    position = before.compacted_position if before is not None else log.fork_position
    wanted = command.below_seq - 1
    if wanted <= gone_seq:
        return Applied(Compacted(position, gone_seq))
    if wanted > log.seq:
        raise rules.seq_not_found(log.seq)
    if tables.branches.hash_at(log, wanted) != command.hash:
        raise Conflict(
            f"mutation {wanted} of agent {log.target.agent!r} is another one", metadata={"head_seq": str(log.seq)}
        )
    held = tuple(holds(tables, log))
    # The newest mutation stays: what is kept of a log is never empty, and its first mutation tells where it begins.
    upto = min(wanted, log.seq - 1, gone_seq + limits.COMPACTED_MUTATIONS, *(hold.seq for hold in held))
    if upto <= gone_seq:
        return Applied(Compacted(position, gone_seq, held=held))
    upto = retention.reach(log, upto, limits.COMPACTED_BYTES)
    upto = _keep_named_states(tables, log, gone_seq, upto)
    return _move_anchor(tables, command, log, before, upto, held)


def _keep_named_states(tables: Tables, log: LogRecord, gone_seq: int, upto: int) -> int:
    """Keep the states before `upto` that are named. How far the anchor goes with them: to the first for which one
    command has no room.

    Each is kept at once, so that the one behind it is made of it: the mutations between them are gone through once.
    """
    first = log.fork_seq if gone_seq == log.fork_seq else gone_seq + 1
    size_bytes = 0
    for seq in tables.retention.named(log, (first, upto)):
        if tables.retention.is_kept(log, seq):
            continue
        if size_bytes > limits.COMPACTED_STATES_BYTES and seq > gone_seq:
            return seq
        kept = tables.retention.state(log, seq)
        _keep(tables, log, kept)
        size_bytes += len(kept.state)
    return upto


def _move_anchor(
    tables: Tables,
    command: CompactLog,
    log: LogRecord,
    before: Anchor | None,
    upto: int,
    held: tuple[Hold, ...],
) -> Applied:
    retention = tables.retention
    state = retention.state(log, upto)
    size_bytes, first_position = retention.weigh(log, upto)
    gone = upto - (before.point.seq if before is not None else log.fork_seq)
    position = tables.position + 1
    _keep(tables, log, state)
    anchor = Anchor(
        point=state.point,
        digest=state.digest,
        mutations=gone + (before.mutations if before is not None else 0),
        size_bytes=size_bytes + (before.size_bytes if before is not None else 0),
        first_position=before.first_position if before is not None else first_position,
        compacted_position=position,
    )
    checkpoints = retention.compact(log, anchor)
    payloads.end_before(tables, log.target, log.number, upto, retention.staying(log, upto), command.time_unix_ms)
    event = LogCompacted(
        position=position,
        target=log.target,
        seq=upto,
        time_unix_ms=max(log.time_unix_ms, command.time_unix_ms),
        actor=command.actor,
        hash=state.point.hash,
        state_digest=state.digest,
        mutations=gone,
        checkpoints=checkpoints,
    )
    retention.add_compaction(log, event)
    return Applied(Compacted(position, upto, gone, size_bytes, checkpoints, held), (event,))


def begin_with(tables: Tables, log: LogRecord, kept: KeptState, position: int) -> None:
    """Let a branch that has just begun, at `position`, do so with a state of its own: its parent's there is alone."""
    _keep(tables, log, kept)
    tables.retention.save_anchor(log, Anchor(kept.point, kept.digest, 0, 0, position, position))


def _keep(tables: Tables, log: LogRecord, kept: KeptState) -> None:
    """Keep a state among the log's own, with the payloads that it names, whoever referred to them up to now."""
    tables.retention.keep(log, kept)
    payloads.refer(tables, log.target.namespace, log.number, kept.point.seq, payloads_named(kept.state))


def _pin(tables: Tables, command: PinCheckpoint) -> Applied:
    log = rules.find_log(tables, command.target)
    retention = tables.retention
    taken = retention.checkpoint(log, command.name)
    if taken is None:
        raise rules.checkpoint_not_found(command.target, command.name)
    if retention.is_pinned(taken) == command.is_pinned:
        return Applied(PinChanged(taken.position, taken.seq, command.is_pinned, replayed=True))
    owner = rules.find_log(tables, taken.target)
    if command.is_pinned and not retention.is_readable(owner, taken.seq):
        oldest = retention.oldest(owner)
        raise rules.compacted(oldest.point.seq if oldest is not None else 0)
    anchor = retention.anchor(owner)
    is_behind = anchor is not None and taken.seq < anchor.point.seq
    if command.is_pinned and is_behind and not retention.is_kept(owner, taken.seq):
        _keep(tables, owner, retention.state(owner, taken.seq))  # up to now it is there for another's sake alone
    event = CheckpointPinned(
        position=tables.position + 1,
        target=owner.target,
        seq=taken.seq,
        time_unix_ms=max(owner.time_unix_ms, command.time_unix_ms),
        actor=command.actor,
        name=taken.name,
        is_pinned=command.is_pinned,
    )
    retention.save_pin(owner, taken, event)
    return Applied(PinChanged(event.position, taken.seq, command.is_pinned), (event,))
