"""What is decided of branches: (tables, command) -> (outcome, events).

Rules of this file:
- A branch shares its past: up to `fork_seq` it is its parent, beyond it is itself. Nothing is copied, and the parent's
  log is not written.
- A parent outlives its branches: neither is removed alone while the other needs it, and an agent goes with all of them.
- A fork's key is remembered by the branch that it began, and goes with that.
- Where the mutations that follow a point went and its state is kept by itself, a branch begins with that state as its
  own anchor, and needs nothing of its parent's.
- A team is forked at one position: all of its agents or none.
"""

from __future__ import annotations

from typing import assert_never

from tallystick.errors import Conflict, Invalid, NotFound, QuotaExceeded, Reason
from tallystick_node.core import leases, limits, payloads, retention, rules
from tallystick_node.core.commands import BranchCommand, DeleteBranch, Fork, ForkTeam, Target
from tallystick_node.core.outcomes import Applied, BranchDeleted, BranchForked, Deleted, Forked
from tallystick_node.core.tables import LogRecord, Tables


def decide(tables: Tables, command: BranchCommand) -> Applied:
    """Decide one command on branches.

    Raises:
        Refused: decided: no. Nothing was changed.
    """
    match command:
        case Fork():
            return _fork(tables, command)
        case ForkTeam():
            return _fork_team(tables, command)
        case DeleteBranch():
            return _delete(tables, command)
    assert_never(command)


def check_is_agent(log: LogRecord) -> None:
    """Raises `Invalid` for a branch: who deletes an agent names none."""
    if log.parent:
        raise Invalid(
            f"{log.target.branch!r} is a branch of agent {log.target.agent!r}: delete that, or name the agent alone",
            metadata={"field": "branch", "branch": log.target.branch},
        )


def _fork(tables: Tables, command: Fork) -> Applied:
    known = _recall(tables, command.source._replace(branch=command.branch), command)
    if known is not None:
        return Applied(Forked(known.position, (known,), replayed=True))
    source = rules.find_log(tables, command.source)
    seq = source.seq if command.at_seq is None else command.at_seq
    if seq > source.seq:
        raise rules.seq_not_found(source.seq)
    _check_readable(tables, source, seq)
    _check_free(tables, source, command.branch)
    forked = _begin(tables, source, seq, command)
    return Applied(Forked(forked.position, (forked,)), (forked,))


def _fork_team(tables: Tables, command: ForkTeam) -> Applied:
    points = _points(tables, command)
    known = [_recall(tables, log.target._replace(branch=command.branch), command) for log, _ in points]
    replayed = tuple([event for event in known if event is not None])
    if replayed:
        return Applied(Forked(replayed[-1].position, replayed, replayed=True))
    for log, _ in points:
        _check_free(tables, log, command.branch)
    forked = tuple([_begin(tables, log, seq, command) for log, seq in points])
    return Applied(Forked(forked[-1].position, forked), forked)


def _points(tables: Tables, command: ForkTeam) -> list[tuple[LogRecord, int]]:
    """The logs of the team that had begun at the position, and where each ended then."""
    if command.position > tables.position:
        raise Invalid(
            f"position {command.position} is ahead of {tables.position}, the newest",
            metadata={"field": "revision", "newest": str(tables.position)},
        )
    logs = tables.branches.team(command.namespace, command.prefix, command.source_branch, limits.TEAM_AGENTS + 1)
    if len(logs) > limits.TEAM_AGENTS:
        raise _quota(f"more than {limits.TEAM_AGENTS} agents would be forked at once", limits.TEAM_AGENTS)
    begun = [log for log in logs if _had_begun(tables, log, command.position)]
    points = [(log, tables.branches.seq_at(log, command.position)) for log in begun]
    points = [(log, seq) for log, seq in points if seq or log.parent]
    if not points:
        raise NotFound(
            f"at position {command.position} no agent of {command.namespace!r} whose name begins with"
            f" {command.prefix!r} had a branch {command.source_branch!r}",
            metadata={"prefix": command.prefix, "branch": command.source_branch},
        )
    return points


def _had_begun(tables: Tables, log: LogRecord, position: int) -> bool:
    """Whether the log was there at a position. Raises `Compacted` when it was, and where it ended then is not known."""
    oldest = tables.retention.oldest(log)
    if oldest is not None and position < oldest.point.position:
        if not log.parent and position < oldest.first_position:
            return False
        if log.fork_position <= position:
            raise rules.compacted(oldest.point.seq)
    return log.fork_position <= position


def _check_readable(tables: Tables, source: LogRecord, seq: int) -> None:
    """Raises `Compacted` when the state there is not kept."""
    if not tables.retention.is_readable(source, seq):
        oldest = tables.retention.oldest(source)
        raise rules.compacted(oldest.point.seq if oldest is not None else 0)


def _recall(tables: Tables, target: Target, command: Fork | ForkTeam) -> BranchForked | None:
    """The event of the first attempt, if this is a retry."""
    branch = tables.log(target)
    known = rules.recall(tables, branch, command.idempotency, BranchForked) if branch is not None else None
    return known[0] if known is not None else None


def _check_free(tables: Tables, source: LogRecord, branch: str) -> None:
    """Raises `AlreadyExists` or `QuotaExceeded` when no branch of that name may begin at the source."""
    target = source.target._replace(branch=branch)
    if tables.log(target) is not None:
        raise rules.branch_exists(target)
    if tables.branches.count(target.namespace, target.agent) >= limits.AGENT_BRANCHES:
        raise _quota(f"agent {target.agent!r} has {limits.AGENT_BRANCHES} branches", limits.AGENT_BRANCHES)
    if tables.branches.depth(source) >= limits.BRANCH_DEPTH:
        raise _quota(
            f"branch {source.target.branch!r} is the last of {limits.BRANCH_DEPTH} that began one at another",
            limits.BRANCH_DEPTH,
        )


def _quota(message: str, limit: int) -> QuotaExceeded:
    return QuotaExceeded(message, reason=Reason.BRANCH_QUOTA, metadata={"limit": str(limit)})


def _begin(tables: Tables, source: LogRecord, seq: int, command: Fork | ForkTeam) -> BranchForked:
    branches = tables.branches
    forked = BranchForked(
        position=tables.position + 1,
        target=source.target._replace(branch=command.branch),
        seq=seq,
        time_unix_ms=max(source.time_unix_ms, command.time_unix_ms),
        actor=command.actor,
        hash=branches.hash_at(source, seq),
        parent=source.target.branch,
    )
    log = LogRecord(
        number=tables.last_log + 1,
        target=forked.target,
        seq=seq,
        hash=forked.hash,
        time_unix_ms=forked.time_unix_ms,
        position=forked.position,
        checkpoint=branches.newest_checkpoint(source, seq),
        state_bytes=source.state_bytes,
        parent=source.number,
        fork_seq=seq,
        fork_position=forked.position,
    )
    lone = tables.retention.state(source, seq) if tables.retention.is_lone(source, seq) else None
    tables.add_branch(rules.remember(tables, log, command.idempotency, forked.position), forked)
    if lone is not None:
        retention.begin_with(tables, log, lone, forked.position)
    return forked


def _delete(tables: Tables, command: DeleteBranch) -> Applied:
    known = rules.recall_deletion(tables, command.target, command.idempotency, BranchDeleted)
    if known is not None:
        return Applied(Deleted(known.position, known.seq, known.time_unix_ms, replayed=True))
    log = rules.find_log(tables, command.target)
    if not log.parent:
        raise Invalid("an agent's first branch goes with the agent", metadata={"field": "branch"})
    rules.check_unused_key(tables, log, command.idempotency)
    leases.check_epoch(tables, command.target, command.epoch)
    rules.check_head(command.expected_seq, log.seq)
    child = tables.branches.child(log)
    if child is not None:
        raise Conflict(
            f"branch {child.target.branch!r} began at branch {command.target.branch!r}",
            reason=Reason.BRANCH_IN_USE,
            metadata={"agent": command.target.agent, "branch": child.target.branch},
        )
    ended = leases.end_with_branch(tables, command)
    payloads.end_with_log(tables, command.target, log.number, command.time_unix_ms)
    time_unix_ms = max(log.time_unix_ms, command.time_unix_ms)
    deleted = BranchDeleted(tables.position + 1, command.target, log.seq, time_unix_ms, command.actor)
    tables.delete_branch(log, deleted, command.idempotency)
    return Applied(Deleted(deleted.position, deleted.seq, deleted.time_unix_ms), (*ended, deleted))
