"""What is decided of cuts through teams: (tables, command) -> (outcome, events).

Rules of this file:
- A cut binds what each log was where it was decided: no write of any of them lies between two of its agents. It writes
  no log, needs no lease and never changes. It goes when it is deleted by its name.
- It outlives its agents: who reads it compares hashes, and finds that an agent of that name is another one now.
- It is told by its name. The fingerprint covers the request and its key, so a retry is answered as the first time, and
  another request of that name is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tallystick.errors import AlreadyExists, NotFound, QuotaExceeded, Reason
from tallystick_node.core import limits, rules
from tallystick_node.core.chain import hash_parts
from tallystick_node.core.commands import DeleteTeamCheckpoint, TakeTeamCheckpoint
from tallystick_node.core.document import Document
from tallystick_node.core.outcomes import (
    Applied,
    TeamCheckpointDeleted,
    TeamCheckpointed,
    TeamCheckpointGone,
    TeamCheckpointRecord,
    TeamCheckpointTaken,
    TeamMember,
)
from tallystick_node.core.tables import LogRecord, Tables
from tallystick_node.core.transactions import states_of
from tallystick_node.core.values import digest_json


def decide(tables: Tables, command: TakeTeamCheckpoint | DeleteTeamCheckpoint) -> Applied:
    """Decide a cut through a team, or its end.

    Raises:
        Refused: decided: no. Nothing was changed.
    """
    if isinstance(command, DeleteTeamCheckpoint):
        return _delete(tables, command)
    return _take(tables, command)


def _take(tables: Tables, command: TakeTeamCheckpoint) -> Applied:
    known = tables.teams.checkpoint(command.namespace, command.name)
    if known is not None:
        if known.fingerprint == command.fingerprint:
            return Applied(TeamCheckpointed(known.position, known, replayed=True))
        raise AlreadyExists(
            f"team checkpoint {command.name!r} exists",
            reason=Reason.TEAM_CHECKPOINT_EXISTS,
            metadata={"checkpoint": command.name},
        )
    logs = _members(tables, command)
    members = tuple([_member(log, state) for log, state in zip(logs, states_of(tables, logs), strict=True)])
    record = TeamCheckpointRecord(
        position=tables.position + 1,
        namespace=command.namespace,
        name=command.name,
        prefix=None if command.members else command.prefix,
        branch="" if command.members else command.branch,
        actor=command.actor,
        time_unix_ms=max(command.time_unix_ms, *(log.time_unix_ms for log in logs)),
        fingerprint=command.fingerprint,
        hash=_bound(command, members),
        metadata=command.metadata,
        members=members,
        contexts=command.contexts,
    )
    taken = TeamCheckpointTaken(
        record.position, record.namespace, record.name, len(members), record.time_unix_ms, record.actor, record.hash
    )
    tables.teams.add(record)
    tables.add_event(taken)
    return Applied(TeamCheckpointed(record.position, record), (taken,))


def _delete(tables: Tables, command: DeleteTeamCheckpoint) -> Applied:
    known = tables.teams.deletion(command.taken) if command.taken else None
    if known is not None and (known.namespace, known.name) == (command.namespace, command.name):
        return Applied(TeamCheckpointGone(known.position, replayed=True))
    record = tables.teams.checkpoint(command.namespace, command.name)
    if record is None or command.taken not in {0, record.position}:
        raise not_found(command.namespace, command.name)
    gone = TeamCheckpointDeleted(
        position=tables.position + 1,
        namespace=record.namespace,
        name=record.name,
        taken=record.position,
        time_unix_ms=max(command.time_unix_ms, record.time_unix_ms),
        actor=command.actor,
    )
    tables.teams.delete(record)
    tables.add_event(gone)
    return Applied(TeamCheckpointGone(gone.position), (gone,))


def not_found(namespace: str, name: str) -> NotFound:
    """There is no such cut."""
    return NotFound(
        f"there is no team checkpoint {name!r} in {namespace!r}",
        reason=Reason.TEAM_CHECKPOINT_NOT_FOUND,
        metadata={"checkpoint": name},
    )


def _members(tables: Tables, command: TakeTeamCheckpoint) -> Sequence[LogRecord]:
    if command.members:
        return [rules.find_log(tables, target) for target in command.members]
    logs = tables.branches.team(command.namespace, command.prefix, command.branch, limits.TEAM_AGENTS + 1)
    if len(logs) > limits.TEAM_AGENTS:
        raise QuotaExceeded(
            f"more than {limits.TEAM_AGENTS} agents would be bound at once",
            reason=Reason.TEAM_QUOTA,
            metadata={"limit": str(limits.TEAM_AGENTS)},
        )
    if not logs:
        raise NotFound(
            f"no agent of {command.namespace!r} whose name begins with {command.prefix!r} has a branch"
            f" {command.branch!r}",
            metadata={"prefix": command.prefix, "branch": command.branch},
        )
    return logs


def _member(log: LogRecord, state: Document) -> TeamMember:
    return TeamMember(log.target.agent, log.target.branch, log.seq, log.hash, digest_json(state.root))


def _bound(command: TakeTeamCheckpoint, members: Sequence[TeamMember]) -> bytes:
    """The SHA-256 of all that a cut binds."""
    return hash_parts(b"", *_parts(command, members))


def _parts(command: TakeTeamCheckpoint, members: Sequence[TeamMember]) -> Iterator[bytes]:
    yield command.metadata
    yield str(len(members)).encode()
    for agent, branch, seq, hash_, digest in members:
        yield from (agent.encode(), branch.encode(), str(seq).encode(), hash_, digest)
    for name, cursor in command.contexts:
        yield from (name.encode(), cursor)
