"""Who may lead: votes counted once, the election before the election, votes withheld, leadership handed over."""

from __future__ import annotations

import math

import pysyncobj.syncobj as engine

from tallystick.peer.v1.peer_pb2 import AppendReply, RaftMessage, TimeoutNow
from tallystick_node.consensus.kernel.held import ELECTION_GRANTED_S
from tallystick_node.consensus.kernel.sending import Sending
from tallystick_node.consensus.settings import RESIGN_ELECTIONS


class Elections(Sending):
    """See the module."""

    @property
    def next_deadline_s(self) -> float:
        """When `step` must be called at the latest, on the kernel's clock."""
        if self.is_leader:
            waits = self._rounds_of_term().is_asked and self.has_committed_in_term
            return 0.0 if waits else float(self._SyncObj__newAppendEntriesTime)
        if not self._may_lead:
            return math.inf  # what there is to do comes as a message
        return float(self._SyncObj__raftElectionDeadline) + (self._stand_back_s if self.stands_back else 0.0)

    @property
    def _stand_back_s(self) -> float:
        return RESIGN_ELECTIONS * self._tuning.election_max_s

    def resign(self) -> None:
        """Stops leading, and lets the others elect before this member asks for votes again; alone, it goes on."""
        if not self._SyncObj__otherNodes:
            return
        self._bind()
        self._SyncObj__setState(engine._RAFT_STATE.FOLLOWER)  # noqa: SLF001
        self._SyncObj__raftLeader = None
        self._SyncObj__raftElectionDeadline = self._clock() + self._stand_back_s

    def hand_over(self, node_id: str) -> None:
        """Asks a voter that has all of this leader's log to call an election at once (Ongaro's thesis, 3.10)."""
        self._outbox.messages.append((node_id, RaftMessage(term=self.term, timeout_now=TimeoutNow())))

    @property
    def is_handed_over(self) -> bool:
        """Whether the leader asked for the election of this term."""
        return self._votes.handed_over_term == self.term

    def _take_over(self, peer_id: str, message: RaftMessage) -> None:
        """The leader asks this voter to call an election at once; heartbeats on their way do not put it off."""
        may_lead = self._may_lead and not self.is_leader and not self.stands_back
        if message.term == self.term and peer_id == self.leader_id and may_lead:
            self._grant(handed_over=True)
            self._SyncObj__transferInProgress = True

    def _grant(self, *, handed_over: bool) -> None:
        """pysyncobj's own election begins with the next step, unless there is a newer term, or a leader, by then."""
        votes = self._votes
        votes.before, votes.before_term = set(), 0
        votes.granted_term = self.term + 1
        votes.handed_over_term = self.term + 1 if handed_over else 0
        self._SyncObj__raftElectionDeadline = ELECTION_GRANTED_S

    def _adopt_term(self, message: RaftMessage) -> None:
        """A newer term in any message but those that pysyncobj adopts itself makes this member a follower in it."""
        if message.term <= self.term or message.HasField("append_entries") or message.HasField("vote_request"):
            return
        self._SyncObj__setCurrentTerm(message.term, None)
        self._SyncObj__setState(engine._RAFT_STATE.FOLLOWER)  # noqa: SLF001
        self._SyncObj__raftLeader = None

    # Whose word counts.

    def _is_stale_reply(self, peer_id: str, message: RaftMessage) -> bool:
        """Replies count in their own term and votes once a voter (fault 6 of pysyncobj)."""
        if message.HasField("append_reply"):
            return message.term != self.term or peer_id not in self._members.node_ids
        if message.HasField("vote_reply"):
            counts = message.term == self.term and self._members.is_voter(peer_id)
            return not counts or not self._votes.is_new(peer_id, self.term)
        return False

    def _is_withheld_vote(self, message: RaftMessage) -> bool:
        """Who hears a living leader gives no vote, and learns no term from who asks (fault 12 of pysyncobj), unless the
        leader itself wants the election."""
        is_asked = message.HasField("vote_request") and not message.vote_request.handed_over
        return is_asked and self._leader_is_alive()

    def _is_asked_as_a_stranger(self, message: RaftMessage) -> bool:
        """A node that its own log does not know as a member gives no vote. Who asks may count a node of the same name
        that was removed, and this one has none of what that one had acknowledged."""
        is_asked = message.HasField("vote_request") or message.HasField("pre_vote_request")
        return is_asked and not self._raft_log.knows(self._node_id)

    def _leader_is_alive(self) -> bool:
        if self.is_leader:
            return True
        silence_s = self._clock() - self._last_leader_contact_s
        return self.leader_id is not None and silence_s < self._tuning.election_min_s

    # The election before the election (Ongaro's thesis, 9.6): a member that was cut off does not raise its term.

    def _election_is_due(self) -> bool:
        """Time to ask; not when the answer is there already, and never alone: then there is nobody to ask."""
        if self.is_leader or not self._may_lead or not self._SyncObj__otherNodes:
            return False
        is_answered = self._SyncObj__raftElectionDeadline == ELECTION_GRANTED_S
        return not is_answered and self.next_deadline_s < self._clock()

    def _ask_before_election(self) -> None:
        self._SyncObj__raftElectionDeadline = self._clock() + self._SyncObj__generateRaftTimeout()
        self._SyncObj__raftLeader = None
        self._votes.before, self._votes.before_term = set(), self.term + 1
        last = self._raft_log[-1]
        for peer_id in self._members.voter_ids:
            if peer_id == self._node_id:
                continue
            request = RaftMessage(term=self.term)
            request.pre_vote_request.last_index, request.pre_vote_request.last_term = last[1], last[2]
            self._outbox.messages.append((peer_id, request))

    def _answer_before_election(self, peer_id: str, message: RaftMessage) -> None:
        last = self._raft_log[-1]
        asked = message.pre_vote_request
        up_to_date = (asked.last_term, asked.last_index) >= (last[2], last[1])
        if message.term < self.term:  # not a vote; it tells the asker of the term it missed
            self._outbox.messages.append((peer_id, RaftMessage(term=self.term, append_reply=AppendReply())))
        elif up_to_date and not self._leader_is_alive():
            reply = RaftMessage(term=self.term)
            reply.pre_vote_reply.asked_term = message.term + 1
            self._outbox.messages.append((peer_id, reply))

    def _count_before_election(self, peer_id: str, message: RaftMessage) -> None:
        if self.is_leader or message.pre_vote_reply.asked_term != self.term + 1:
            return
        if self._votes.before_term != self.term + 1:
            return
        self._votes.before.add(peer_id)
        if self._members.is_majority((self._node_id, *self._votes.before)):
            self._grant(handed_over=False)
