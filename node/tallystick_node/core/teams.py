"""What is decided of cuts through teams: (tables, command) -> (outcome, events).

Rules of this file:
- A cut binds what each log was where it was decided: no write of any of them lies between two of its agents. It writes
  no log, needs no lease and never changes.
- It outlives its agents: who reads it compares hashes, and finds that an agent of that name is another one now.
- It is told by its name. The fingerprint covers the request and its key, so a retry is answered as the first time, and
  another request of that name is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tallystick.errors import AlreadyExists, NotFound, QuotaExceeded, Reason
from tallystick_node.core import limits, rules
from tallystick_node.core.chain import hash_parts
from tallystick_node.core.commands import TakeTeamCheckpoint
from tallystick_node.core.document import Document
from tallystick_node.core.outcomes import (
    Applied,
    TeamCheckpointed,
    TeamCheckpointRecord,
    TeamCheckpointTaken,
    TeamMember,
)
from tallystick_node.core.tables import LogRecord, Tables
from tallystick_node.core.transactions import states_of
from tallystick_node.core.values import digest_json


def decide(tables: Tables, command: TakeTeamCheckpoint) -> Applied:
    """Decide a cut through a team.

    Raises:
        Refused: decided: no. Nothing was changed.
    """
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
