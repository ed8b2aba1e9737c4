"""What a node says of itself and its cluster."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tallystick._convert import revision
from tallystick._values import Revision
from tallystick.errors import TallystickError
from tallystick.v1 import cluster_pb2


class Role(enum.StrEnum):
    """A node's part in its group."""

    UNKNOWN = "unknown"
    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    LEADER = "leader"


_ROLES: Final = {
    cluster_pb2.ROLE_FOLLOWER: Role.FOLLOWER,
    cluster_pb2.ROLE_CANDIDATE: Role.CANDIDATE,
    cluster_pb2.ROLE_LEADER: Role.LEADER,
}


@dataclass(frozen=True, slots=True)
class Member:
    """A node, as another sees it.

    Attributes:
        match_index: known to the leader: up to where this member has the log on disk.
        is_learner: it is sent the log, and counts for no majority.
    """

    node_id: str
    client_endpoint: str
    peer_endpoint: str
    connected: bool
    match_index: int
    is_learner: bool = False


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """A member in a list of them, as the node that answered sees it.

    Attributes:
        is_learner: it is sent the log, and counts for no majority; else it is a voter.
        connected: the node that answered reaches it (and itself).
        lag_entries: how many decided entries it lacks on disk, as far as the leader has heard; None: not known, for
            the node that answered does not lead.
    """

    node_id: str
    client_endpoint: str
    peer_endpoint: str
    is_learner: bool
    is_leader: bool
    connected: bool
    lag_entries: int | None


@dataclass(frozen=True, slots=True)
class ContextsStatus:
    """How the documents of a node do.

    Attributes:
        is_up: the worker process that holds them answers.
        documents, loaded: how many have content, and how many are in memory, as of some seconds ago.
        subscribers: streams and WebSockets that have one open at this node.
        worker_restarts: how often the worker died and was started again.
        set_aside: updates and documents that are refused because they killed the worker.
    """

    is_up: bool
    documents: int
    loaded: int
    subscribers: int
    worker_restarts: int
    set_aside: int


@dataclass(frozen=True, slots=True)
class RetentionStatus:
    """What retention came to on a node since it started: it does any only while it leads.

    Attributes:
        run_unix_ms: when the last run of all policies ended; 0: none did.
        mutations, size_bytes, checkpoints: that went.
        failure, failed_unix_ms: of the last log of which not all went that was due; empty and 0: none.
    """

    run_unix_ms: int
    mutations: int
    size_bytes: int
    checkpoints: int
    failure: str
    failed_unix_ms: int


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """How a node does. Indexes are places in the Raft log; `revision` is what it has applied.

    Attributes:
        durable_index: journal entries that are on its disk.
        state_digest: of everything applied; equal on nodes at one `applied_index`.
        alarms: reason codes, for example `DISK_FULL`; `ARCHIVE:cold`: that archive takes nothing.
        contexts: of its documents; None: it was told to hold none.
        retention: what went of agents' logs; None: the node is older than this client.
    """

    cluster_id: str
    node_id: str
    version: str
    role: Role
    leader_id: str
    leader_endpoint: str
    revision: Revision
    term: int
    commit_index: int
    applied_index: int
    durable_index: int
    first_index: int
    last_index: int
    members: tuple[Member, ...]
    journal_size_bytes: int
    database_size_bytes: int
    disk_free_bytes: int
    uptime_s: int
    agents: int
    watchers: int
    state_digest: bytes
    alarms: tuple[str, ...]
    contexts: ContextsStatus | None = None
    retention: RetentionStatus | None = None


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """What came of asking one endpoint: its status, or the error that says why there is none."""

    endpoint: str
    status: NodeStatus | None = None
    error: TallystickError | None = None


def node_status(message: cluster_pb2.StatusResponse) -> NodeStatus:
    """The status that came."""
    return NodeStatus(
        cluster_id=message.cluster_id,
        node_id=message.node_id,
        version=message.version,
        role=_ROLES.get(message.role, Role.UNKNOWN),
        leader_id=message.leader_id,
        leader_endpoint=message.header.leader_endpoint,
        revision=revision(message.header.revision),
        term=message.term,
        commit_index=message.commit_index,
        applied_index=message.applied_index,
        durable_index=message.durable_index,
        first_index=message.first_index,
        last_index=message.last_index,
        members=tuple(
            Member(m.node_id, m.client_endpoint, m.peer_endpoint, m.connected, m.match_index, m.is_learner)
            for m in message.members
        ),
        journal_size_bytes=message.journal_bytes,
        database_size_bytes=message.database_bytes,
        disk_free_bytes=message.disk_free_bytes,
        uptime_s=message.uptime_s,
        agents=message.agents,
        watchers=message.watchers,
        state_digest=message.state_digest,
        alarms=tuple(message.alarms),
        contexts=_contexts_status(message.contexts) if message.HasField("contexts") else None,
        retention=_retention_status(message.retention) if message.HasField("retention") else None,
    )


def _retention_status(message: cluster_pb2.RetentionStatus) -> RetentionStatus:
    return RetentionStatus(
        run_unix_ms=message.run_unix_ms,
        mutations=message.mutations,
        size_bytes=message.size_bytes,
        checkpoints=message.checkpoints,
        failure=message.failure,
        failed_unix_ms=message.failed_unix_ms,
    )


def _contexts_status(message: cluster_pb2.ContextsStatus) -> ContextsStatus:
    return ContextsStatus(
        is_up=message.is_up,
        documents=message.documents,
        loaded=message.loaded,
        subscribers=message.subscribers,
        worker_restarts=message.worker_restarts,
        set_aside=message.set_aside,
    )


def member_infos(
    members: Iterable[cluster_pb2.Member], leader_id: str, *, head_index: int | None
) -> tuple[MemberInfo, ...]:
    """The members that came from a node, by node id; `head_index`: how far the log is decided, if it is the leader."""
    return tuple(
        MemberInfo(
            node_id=member.node_id,
            client_endpoint=member.client_endpoint,
            peer_endpoint=member.peer_endpoint,
            is_learner=member.is_learner,
            is_leader=member.node_id == leader_id,
            connected=member.connected,
            lag_entries=None if head_index is None else max(0, head_index - member.match_index),
        )
        for member in sorted(members, key=lambda member: member.node_id)
    )
