"""What a node says of itself: where it is with every answer, all it knows when asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tallystick import __version__
from tallystick.errors import Reason
from tallystick.v1 import cluster_pb2
from tallystick_node.api.header import Whereabouts
from tallystick_node.config.values import NodeConfig
from tallystick_node.consensus.members import Members
from tallystick_node.consensus.replica import Replica, ReplicaStatus
from tallystick_node.consensus.runner import Runner
from tallystick_node.feed.feed import Feed
from tallystick_node.host import Host
from tallystick_node.machine import Outcomes
from tallystick_node.retention.keeper import Retained, RetentionKeeper
from tallystick_node.storage.database import Database
from tallystick_node.storage.journal import Journal

DIVERGED: Final = "DIVERGED"
"""Alarm, with a node id behind a colon: this node's state is not what a majority has."""

ARCHIVE: Final = "ARCHIVE"
"""Alarm, with the archive's name behind a colon: it did not take what retention gave it last."""

_MAX_AGE_MS: Final = 2**53


class NodeStatus:
    """Looks at the parts of one node; changes nothing."""

    def __init__(
        self,
        config: NodeConfig,
        replica: Replica[Outcomes],
        runner: Runner[Outcomes],
        database: Database,
        journal: Journal,
        feed: Feed,
        host: Host,
        contexts: Callable[[], cluster_pb2.ContextsStatus | None],
        retention: Callable[[], RetentionKeeper],
    ) -> None:
        self._config = config
        self._replica = replica
        self._runner = runner
        self._database = database
        self._journal = journal
        self._feed = feed
        self._host = host
        self._contexts = contexts
        self._retention = retention
        self._started_s = host.clock()

    @property
    def has_leader(self) -> bool:
        """Whether this node knows who leads."""
        return self._replica.kernel.leader_id is not None

    def whereabouts(self) -> Whereabouts:
        """For the header of an answer."""
        kernel = self._replica.kernel
        age_ms = int((self._host.clock() - kernel.last_leader_contact_s) * 1000)
        leader = kernel.members.get(kernel.leader_id or "")
        leader_endpoint = leader.client_endpoint if leader is not None else ""
        return Whereabouts(self._database.position, leader_endpoint, min(max(age_ms, 0), _MAX_AGE_MS))

    def report(self) -> cluster_pb2.StatusResponse:
        """Everything but the header."""
        status = self._replica.status()
        return cluster_pb2.StatusResponse(
            cluster_id=self._config.cluster_id,
            node_id=self._config.node_id,
            version=__version__,
            role=_role(status),
            leader_id=status.leader_id or "",
            term=status.term,
            commit_index=status.commit_index,
            applied_index=status.applied_index,
            durable_index=status.durable_index,
            first_index=status.first_index,
            last_index=status.last_index,
            members=self.describe(status.members),
            journal_bytes=self._journal.size_bytes,
            database_bytes=self._database.size_bytes,
            disk_free_bytes=self._host.files.free_bytes(self._config.data_folder),
            uptime_s=int(self._host.clock() - self._started_s),
            agents=self._database.reads.agent_count,
            state_digest=self._database.digest,
            alarms=self._alarms(),
            watchers=self._feed.subscribers,
            contexts=self._contexts(),
            retention=_retention(self._retention().retained),
        )

    def describe(self, members: Members) -> list[cluster_pb2.Member]:
        """Members as this node sees them: connected, and on the leader how much of the log they have."""
        me, status = self._config.node_id, self._replica.status()
        return [
            cluster_pb2.Member(
                node_id=member.node_id,
                client_endpoint=member.client_endpoint,
                peer_endpoint=member.peer_endpoint,
                connected=member.node_id == me or member.node_id in status.connected,
                match_index=status.durable_index
                if member.node_id == me
                else status.match_indexes.get(member.node_id, 0),
                is_learner=member.is_learner,
            )
            for member in members.all
        ]

    def _alarms(self) -> list[str]:
        full = self._runner.full_disk is not None or not self._replica.accepts_writes
        odd = self._replica.status().odd
        return [
            *([Reason.DISK_FULL] if full else []),
            *(f"{DIVERGED}:{node_id}" for node_id in sorted(odd)),
            *(f"{ARCHIVE}:{name}" for name in self._retention().failing),
        ]


def _retention(retained: Retained) -> cluster_pb2.RetentionStatus:
    return cluster_pb2.RetentionStatus(
        run_unix_ms=retained.run_unix_ms,
        mutations=retained.mutations,
        size_bytes=retained.size_bytes,
        checkpoints=retained.checkpoints,
        failure=retained.failure,
        failed_unix_ms=retained.failed_unix_ms,
    )


def _role(status: ReplicaStatus) -> cluster_pb2.Role.ValueType:
    if status.is_leader:
        return cluster_pb2.ROLE_LEADER
    return cluster_pb2.ROLE_CANDIDATE if status.is_candidate else cluster_pb2.ROLE_FOLLOWER
