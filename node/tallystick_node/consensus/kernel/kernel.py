"""What the replica calls: time passes, a message came, a state was exchanged."""

from __future__ import annotations

import random
from collections.abc import Callable

import pysyncobj.syncobj as engine
from pysyncobj.node import Node

from tallystick.peer.v1.peer_pb2 import RaftMessage
from tallystick_node.consensus import codec
from tallystick_node.consensus.kernel.elections import Elections
from tallystick_node.consensus.members import Members
from tallystick_node.consensus.raft_log import RaftLog
from tallystick_node.consensus.settings import Tuning


class Kernel(Elections):
    """One member's Raft: elections, the leader's log, the commit index.

    Call `step` often and `receive` for each message; then take `messages`, and `committed` as far as `raft_log` is
    on disk. All of it on one thread.
    """

    def __init__(
        self,
        node_id: str,
        raft_log: RaftLog,
        durable_index: Callable[[], int],
        *,
        tuning: Tuning,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        super().__init__(node_id, raft_log, durable_index, tuning=tuning, clock=clock, rng=rng)
        self._take_members(raft_log.members)

    @property
    def has_more_to_apply(self) -> bool:
        """Whether the last step left committed entries for the next one, or, with no peer to wait for, entries to
        commit: pysyncobj looks for those before it takes what is proposed."""
        is_left = self._SyncObj__raftCommitIndex > self._SyncObj__raftLastApplied
        is_alone = self.is_leader and not self._SyncObj__otherNodes
        return bool(is_left or (is_alone and self.commit_index < self._raft_log[-1][1]))

    def step(self) -> None:
        """Lets time pass: elections, heartbeats, commits, proposals."""
        self._bind()
        if self._election_is_due():
            self._ask_before_election()
        self._begin_round()
        self._hold_full_windows()
        self._tick()
        self._beat_held()
        self._drop_late_commands()
        self._after_entry()

    def receive(self, peer_id: str, message: RaftMessage) -> None:
        """Handles a message of a peer; what is stale, or asks for a vote that is not to be given, changes nothing."""
        if self._is_withheld_vote(message) or self._is_asked_as_a_stranger(message):
            return
        self._bind()
        self._hold_full_windows()
        peer = self._peer(peer_id)
        self._adopt_term(message)
        if message.HasField("vote_request") or message.HasField("pre_vote_request"):
            self._raft_log.hide_own_removal(self._node_id)
        if message.HasField("pre_vote_request"):
            self._answer_before_election(peer_id, message)
        elif message.HasField("pre_vote_reply"):
            self._count_before_election(peer_id, message)
        elif message.HasField("timeout_now"):
            self._take_over(peer_id, message)
        elif message.HasField("append_entries") and message.term < self.term:
            # pysyncobj is silent here; without this answer a leader of an older term never learns that it is one
            self.answer_round = 0  # the sender may lead in our term by now: this answers no round of that one
            self._answer(peer, next_index=1, reset=False)
        elif not self._is_stale_reply(peer_id, message):
            self._handle(peer, message)
        self._after_entry()

    def ask_read(self, node_id: str, number: int) -> None:
        """On a leader: a node, itself too, wants to read; see `reads`. Asks in vain if the leadership ends before."""
        self._rounds_of_term().ask(node_id, number)

    def restart(self, applied_index: int, members: Members) -> None:
        """The state machine and the journal were exchanged for what a snapshot brought. It may be of a newer term, and
        a candidate asked for votes with another log: whatever this member was, it follows."""
        self._bind()
        self._follow()
        self._raft_log.restart(applied_index, members)
        self._SyncObj__raftLastApplied = self._raft_log.committed_index
        self._SyncObj__raftCommitIndex = max(
            self._raft_log.committed_index, min(self.commit_index, self._raft_log[-1][1])
        )
        self._raft_log.committed_index = self.commit_index
        self._slowest_index = max(self._slowest_index, self._raft_log.first_index)
        self.committed.clear()
        self.wanted_index = 0
        self._follow_members()

    def _follow(self) -> None:
        newer_term = self._raft_log.getCurrentTerm()
        if self.is_leader or self.is_candidate or newer_term > self.term:
            self._SyncObj__raftLeader = None
            self._SyncObj__setState(engine._RAFT_STATE.FOLLOWER)  # noqa: SLF001
            self._SyncObj__raftElectionDeadline = self._clock() + self._SyncObj__generateRaftTimeout()
        if newer_term > self.term:
            self._SyncObj__setCurrentTerm(newer_term, None)

    def _handle(self, peer: Node, message: RaftMessage) -> None:
        next_index = self._SyncObj__raftNextIndex.get(peer, 0)
        known_index = self._beat_index(peer) if message.HasField("append_reply") else 0
        if message.HasField("append_entries"):
            self._last_leader_contact_s = self._clock()
            self.answer_round = message.append_entries.round
            # before the answer, which must not point below what the sender may have let go of
            self._slowest_index = max(self._slowest_index, message.append_entries.slowest_index)
            _, first_index, first_term = self._raft_log[0]
            message = codec.without_known(message, first_index, first_term)
        self._SyncObj__onMessageReceived(peer, codec.decode(message))
        if message.HasField("append_entries") and message.append_entries.needs_snapshot:
            self._answer_needs_snapshot(peer, message.append_entries.prev_index)
        if message.HasField("append_reply") and self.is_leader:
            self._rounds_of_term().answered(peer.id, message.append_reply.round)
            self._take_answer(peer, message.append_reply, next_index, known_index)

    def _after_entry(self) -> None:
        self._SyncObj__connectedNodes |= self._held
        self._held.clear()
        self._raft_log.settle()
        if self.commit_index < self._raft_log.committed_index:
            # computed while the tail was hidden: what was decided stays decided
            self._SyncObj__raftCommitIndex = self._raft_log.committed_index
        self._raft_log.committed_index = self.commit_index
        if self.wanted_index <= self.commit_index:
            self.wanted_index = 0  # another leader's journal reached back far enough
        self._follow_members()
        if self.is_leader:
            self.reads += self._rounds_of_term().take_confirmed(self._node_id, self._members.is_majority)
