"""What is told of teams: immutable values, and what they are made of on the wire."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tallystick import _convert
from tallystick._json import JSON, decode
from tallystick._times import to_time
from tallystick._values import Revision
from tallystick.contexts.cursor import Cursor
from tallystick.errors import Corrupt
from tallystick.v1 import team_pb2


@dataclass(frozen=True, slots=True)
class TeamMember:
    """An agent in a cut.

    Attributes:
        seq: where its log ended.
        hash: of the mutation there; empty at seq 0.
        state_digest: SHA-256 of the canonical JSON of its state there.
    """

    agent: str
    branch: str
    seq: int
    hash: bytes
    state_digest: bytes


@dataclass(frozen=True, slots=True)
class TeamCheckpoint:
    """A cut through a team: where the logs of its agents ended at one moment of the decided history.

    Attributes:
        prefix: the agents are those whose names began so, with their branch `branch`; None: they were listed.
        agents: how many.
        members: the agents, by name or as listed; empty in a listing of cuts.
        contexts: what who took it had seen of contexts, by name; empty in a listing of cuts.
        hash: SHA-256 of all that it binds.
    """

    name: str
    prefix: str | None
    branch: str
    agents: int
    members: tuple[TeamMember, ...]
    contexts: Mapping[str, Cursor]
    metadata: dict[str, JSON]
    hash: bytes
    actor: str
    time_unix_ms: int
    revision: Revision

    @property
    def time(self) -> datetime:
        """When it was proposed, by the clock of the node that took it; not before the agents' newest mutations."""
        return to_time(self.time_unix_ms)


@dataclass(frozen=True, slots=True)
class TeamState:
    """An agent as it was in a cut.

    Attributes:
        member: where it was.
        state: its state there; None with `is_gone`.
        head_seq: where its log ends now.
        is_gone: it was deleted since, or another agent has its name now.
        state_json: the state as it is kept: canonical JSON.
    """

    member: TeamMember
    state: JSON
    head_seq: int
    is_gone: bool
    state_json: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PartAppended:
    """What a transaction appended to one log.

    Attributes:
        first_seq, seq: of its first and last mutation; in the answer to a retry 0, and `hash` empty, if the log was
            deleted meanwhile.
    """

    agent: str
    branch: str
    first_seq: int
    seq: int
    hash: bytes
    time_unix_ms: int
    revision: Revision


@dataclass(frozen=True, slots=True)
class Transacted:
    """A transaction that was decided: what it appended, in order, and the revision of the last mutation."""

    parts: tuple[PartAppended, ...]
    revision: Revision
    replayed: bool = False


def team_checkpoint(message: team_pb2.TeamCheckpointInfo) -> TeamCheckpoint:
    """A cut that came."""
    metadata = decode(message.metadata)
    return TeamCheckpoint(
        name=message.name,
        prefix=message.prefix if message.HasField("prefix") else None,
        branch=message.branch,
        agents=message.agents,
        members=tuple(map(_member, message.members)),
        contexts={each.name: Cursor.of(each.cursor) for each in message.contexts},
        metadata=metadata if isinstance(metadata, dict) else {},
        hash=message.hash,
        actor=message.actor,
        time_unix_ms=message.time_unix_ms,
        revision=_convert.revision(message.revision),
    )


def team_state(message: team_pb2.TeamState) -> TeamState:
    """A state of a cut that came.

    Raises:
        Corrupt: it is not the one that was bound.
    """
    member = _member(message.member)
    if not message.is_gone and hashlib.sha256(message.state).digest() != member.state_digest:
        raise Corrupt(f"the state of {member.agent!r} at seq {member.seq} is not the one that the cut binds")
    state = None if message.is_gone else decode(message.state)
    return TeamState(member, state, message.head_seq, message.is_gone, message.state)


def transacted(request: team_pb2.TransactRequest, answer: team_pb2.TransactResponse) -> Transacted:
    """The answer to a transaction."""
    parts = [
        PartAppended(
            agent=asked.agent.agent,
            branch=asked.agent.branch,
            first_seq=part.first_seq,
            seq=part.last_seq,
            hash=part.hash,
            time_unix_ms=part.time_unix_ms,
            revision=_convert.revision(part.revision),
        )
        for asked, part in zip(request.parts, answer.parts, strict=True)
        if asked.mutations
    ]
    return Transacted(tuple(parts), _convert.revision(answer.revision), answer.replayed)


def _member(message: team_pb2.TeamMember) -> TeamMember:
    return TeamMember(message.agent.agent, message.agent.branch, message.seq, message.hash, message.state_digest)
