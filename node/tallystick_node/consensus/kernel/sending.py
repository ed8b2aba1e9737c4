"""What peers are sent, and what their answers mean: flow control, of which pysyncobj has none, the rounds that
linearizable reads wait for, and the notice that only a snapshot helps."""

from __future__ import annotations

from pysyncobj.node import Node

from tallystick.peer.v1.peer_pb2 import AppendEntries, AppendReply, RaftMessage
from tallystick_node.consensus.kernel.membership import WithMembers
from tallystick_node.consensus.read_rounds import ReadRounds
from tallystick_node.consensus.send_window import SendWindow


class Sending(WithMembers):
    """See the module."""

    @property
    def log_begins_at(self) -> int:
        """The entry before the first that can be sent."""
        return self._raft_log.first_index

    def peer_connected(self, peer_id: str) -> None:
        """Messages can reach this peer."""
        peer = self._peer(peer_id)
        self._windows[peer] = SendWindow(probing=True)
        self._SyncObj__connectedNodes.add(peer)

    def peer_disconnected(self, peer_id: str) -> None:
        """Messages to this peer are lost."""
        self._SyncObj__connectedNodes.discard(self._peer(peer_id))

    # Flow control.

    def sent_entries(self, node: Node, message: RaftMessage) -> None:
        """An append_entries went out; a full window ends this step's sending to the peer, and so does the notice that
        it needs a snapshot: pysyncobj would repeat that for as long as a heartbeat."""
        window = self._windows.setdefault(node, SendWindow(probing=True))
        window.last_sent_s = self._clock()
        if message.append_entries.needs_snapshot:
            self._hold(node)
        if message.append_entries.entries:
            window.sent(message.append_entries.entries[-1].index, message.ByteSize(), self._clock())
            if window.is_full(self._clock()):
                self._hold(node)

    def _hold_full_windows(self) -> None:
        if self.is_leader:
            for node, window in self._windows.items():
                if window.is_full(self._clock()):
                    self._hold(node)
        else:
            self._windows.clear()  # what was on its way in an earlier leadership holds nothing up in the next

    def _hold(self, node: Node) -> None:
        """To pysyncobj this peer is disconnected until the step ends: that is how its sending is stopped."""
        if node in self._SyncObj__connectedNodes:
            self._SyncObj__connectedNodes.discard(node)
            self._held.add(node)

    def _beat_held(self) -> None:
        """A peer that is sent no entries still hears its leader: else it would call an election."""
        for node in self._held if self.is_leader else ():
            window = self._windows[node]
            if self._clock() - window.last_sent_s >= self._tuning.heartbeat_s:
                window.last_sent_s = self._clock()
                beat = AppendEntries(
                    prev_index=self._beat_index(node), slowest_index=self.slowest_index, round=self.round
                )
                beat.prev_term = self._raft_log.term_at(beat.prev_index)
                beat.commit_index = min(self.commit_index, beat.prev_index)
                self._outbox.messages.append((node.id, RaftMessage(term=self.term, append_entries=beat)))

    def _beat_index(self, node: Node) -> int:
        """What a peer surely has: what it acknowledged to this leader; at least where this log begins."""
        return max(self._SyncObj__raftMatchIndex.get(node, 0), self._raft_log[0][1])

    # Answers.

    def _take_answer(self, peer: Node, reply: AppendReply, next_index: int, known_index: int) -> None:
        """Moves the send window. The indexes are from before pysyncobj saw the answer: what was to be sent next, and
        what the peer surely had."""
        window = self._windows.setdefault(peer, SendWindow(probing=True))
        if not reply.success and not reply.reset:
            return  # it fetches a snapshot
        if not reply.success:
            self._windows[peer] = SendWindow(probing=True, last_sent_s=window.last_sent_s)
            log_end = self._raft_log[-1][1] + 1
            self._SyncObj__raftNextIndex[peer] = min(self._SyncObj__raftNextIndex[peer], log_end)
            self._send_by(0.0)  # look for the place where the logs part without waiting
            return
        # A probed peer's answer to a mere heartbeat says nothing new.
        if not window.probing or reply.next_index >= next_index or reply.next_index > known_index + 1:
            window.acknowledged(reply.next_index - 1, self._clock())
        if self._SyncObj__raftNextIndex[peer] < next_index:
            # entries behind the acknowledged one are on their way already: do not send them again
            self._SyncObj__raftNextIndex[peer] = next_index

    def _answer(self, peer: Node, *, next_index: int, reset: bool) -> None:
        """An append_entries did not fit; `reset` says where to go on."""
        answer = {"type": "next_node_idx", "next_node_idx": next_index, "reset": reset, "success": False}
        self._outbox.send(peer, answer)

    def _answer_needs_snapshot(self, peer: Node, reach_index: int) -> None:
        """What the leader can send begins behind `reach_index`. What is decided here is the same there."""
        is_here = self.commit_index >= reach_index
        self.wanted_index = 0 if is_here else reach_index
        # else the answer only says that this member lives: without it the leader might not find its majority
        self._answer(peer, next_index=self.commit_index + 1 if is_here else 0, reset=is_here)

    def first_of_term(self, index: int) -> int:
        """The first entry, behind what is committed, of the term that this entry has here: the sender's log has another
        term at `index`, so it need not try these one by one (Raft, end of 5.3)."""
        if index > self._raft_log[-1][1]:
            return index
        return self._raft_log.first_of_term(index, self.slowest_index + 1)

    # Rounds.

    @property
    def round(self) -> int:
        """Of the append_entries that go out."""
        return self._rounds_of_term().round

    def _begin_round(self) -> None:
        """For reads that wait: the next append_entries, which go out now, ask whether this member still leads."""
        if not (self.is_leader and self._rounds_of_term().is_asked and self.has_committed_in_term):
            return
        if self._rounds_of_term().begin(self.commit_index):
            self._send_by(0.0)

    def _rounds_of_term(self) -> ReadRounds:
        if self._rounds_term != self.term:
            self._rounds, self._rounds_term = ReadRounds(), self.term
        return self._rounds
