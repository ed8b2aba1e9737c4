"""Who counts (fault 15 of pysyncobj: we have the gate, see consensus/membership.py; here is what follows from it)."""

from __future__ import annotations

from tallystick_node.consensus.kernel.held import Held
from tallystick_node.consensus.members import Members


class WithMembers(Held):
    """pysyncobj counts its other nodes; its read-only ones are sent the log too, and count for nothing."""

    @property
    def members(self) -> Members:
        """Who is of the cluster, by this member's log."""
        return self._members

    @property
    def members_index(self) -> int:
        """The entry that says so; after a restart: at or before this one."""
        return self._raft_log.members_index

    @property
    def is_settled(self) -> bool:
        """On a leader: an entry of its own term is decided, and so are the members; they may change again."""
        return self.has_committed_in_term and self._raft_log.members_index <= self.commit_index

    @property
    def has_committed_in_term(self) -> bool:
        """On a leader: an entry of its own term is decided, so its commit index misses nothing acknowledged before."""
        return self._raft_log.term_at(self.commit_index) == self.term

    @property
    def match_indexes(self) -> dict[str, int]:
        """On a leader: up to where each peer has the log on disk."""
        match = self._SyncObj__raftMatchIndex
        others = [node_id for node_id in self._members.node_ids if node_id != self._node_id]
        return {node_id: match.get(self._peer(node_id), 0) for node_id in others} if self.is_leader else {}

    @property
    def slowest_index(self) -> int:
        """Every member has the log on disk up to here, and it is decided. What was once true of this stays true."""
        if self.is_leader:
            everyone_has = min(self.match_indexes.values(), default=self._durable_index())
            self._slowest_index = max(self._slowest_index, min(everyone_has, self.commit_index))
        return self._slowest_index

    def _follow_members(self) -> None:
        self._raft_log.settle_members(self.commit_index)
        if self._raft_log.members is not self._members:
            self._take_members(self._raft_log.members)

    def _take_members(self, members: Members) -> None:
        """pysyncobj counts its other nodes, and sends to its read-only ones too: those are the learners."""
        self._members = members
        others = [node_id for node_id in members.node_ids if node_id != self._node_id]
        voters = {self._peer(node_id) for node_id in others if members.is_voter(node_id)}
        learners = {self._peer(node_id) for node_id in others if not members.is_voter(node_id)}
        for gone in (self._SyncObj__otherNodes | self._SyncObj__readonlyNodes) - (voters | learners):
            self._windows.pop(gone, None)
            self._held.discard(gone)
            self._SyncObj__raftMatchIndex.pop(gone, None)
        self._SyncObj__otherNodes, self._SyncObj__readonlyNodes = voters, learners
        for node in voters | learners if self.is_leader else ():
            if node not in self._SyncObj__raftMatchIndex:
                self._SyncObj__raftMatchIndex[node] = 0
                self._SyncObj__raftNextIndex[node] = self._raft_log[-1][1] + 1
                self._SyncObj__lastResponseTime[node] = self._clock()
