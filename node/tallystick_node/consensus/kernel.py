"""pysyncobj, held. The only file that names its insides; see DESIGN.md for what each fix is against.

Rules of this file:
- pysyncobj is exactly 0.3.17: the names with `_SyncObj__` are that version's insides; stand_ins.py asserts it.
- Time and randomness come from the owner of the kernel, bound before every entry, so that many kernels can live in one
  process, each with a clock and a seed of its own.
- It decides nothing of its own but who may vote; storage, sending and applying are the replica's.
"""

from __future__ import annotations

import math
import queue
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pysyncobj.syncobj as engine
from pysyncobj.config import FAIL_REASON, SyncObjConf
from pysyncobj.node import Node

from tallystick.peer.v1.peer_pb2 import AppendEntries, AppendReply, RaftMessage, TimeoutNow
from tallystick_node.consensus import codec
from tallystick_node.consensus.members import Members
from tallystick_node.consensus.outbox import Outbox
from tallystick_node.consensus.raft_log import RaftLog
from tallystick_node.consensus.read_rounds import Read, ReadRounds
from tallystick_node.consensus.send_window import SendWindow
from tallystick_node.consensus.settings import COMMIT_NOTICE_S, RESIGN_ELECTIONS, Tuning
from tallystick_node.consensus.stand_ins import MatchIndex, NoDumps, Peer

_ELECTION_GRANTED_S: Final = 0.0
"""In the place of an election deadline: a majority would vote for us. No clock shows it; any vote or leader ends it."""


@dataclass(slots=True)
class _Votes:
    """Who voted for us, once each (fault 6 of pysyncobj), in the real election and in the one before it."""

    real: set[str] = field(default_factory=set)
    before: set[str] = field(default_factory=set)
    before_term: int = 0
    handed_over_term: int = 0
    """The leader itself asked for the election of this term."""


class Kernel(engine.SyncObj):  # type: ignore[misc]
    """One member's Raft: elections, the leader's log, the commit index.

    Call `step` often and `receive` for each message; then take `messages`, and `committed` as far as `raft_log` is
    on disk. All of it on one thread.
    """

    _SyncObj__otherNodes: set[Node]
    _SyncObj__readonlyNodes: set[Node]

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
        self._clock = clock
        self._rng = rng
        self._tuning = tuning
        self._raft_log = raft_log
        self._node_id = node_id
        self._members = raft_log.members
        self._peers: dict[str, Peer] = {}
        """Whoever was heard of: members, and who is not known to be one yet, or any more."""
        self._votes = _Votes()
        self._rounds = ReadRounds()
        self._rounds_term = 0
        self._windows: dict[Node, SendWindow] = {}
        self._held: set[Node] = set()
        self._slowest_index = raft_log.first_index
        self._durable_index = durable_index
        self._outbox = Outbox(self)
        self._last_leader_contact_s = clock() - tuning.election_max_s
        self.committed: list[int] = []
        """Indexes that were found committed, in order, for the replica to take."""
        self.stands_back = False
        """Lets every other member ask for votes first: this one could lead, but take no writes."""
        self.prompt_index = 0
        """Followers wait for entries up to here: they are told at once when these are committed."""
        self.refused = 0
        """Counts proposals that did not get into the log, for the replica to take."""
        self.reads: list[Read] = []
        """Reads that this leader may let go, for the replica to take."""
        self.answer_round = 0
        """Of the append_entries that is being answered."""
        self.wanted_index = 0
        """A leader's journal begins behind this one: a snapshot that reaches up to here is needed; else 0."""
        self._bind()
        engine.createJournal = lambda _file: raft_log
        super().__init__(Peer(node_id), [], self._conf(tuning), transport=self._outbox)
        self._take_members(raft_log.members)
        self._SyncObj__raftLastApplied = raft_log.committed_index
        self._SyncObj__raftMatchIndex = MatchIndex(durable_index)
        self._SyncObj__serializer = NoDumps()
        raft_log.settle()

    @staticmethod
    def _conf(tuning: Tuning) -> SyncObjConf:
        return SyncObjConf(
            autoTick=False,
            appendEntriesUseBatch=False,  # a commit would wait for the next heartbeat (fault 11 of pysyncobj)
            appendEntriesPeriod=tuning.heartbeat_s,
            appendEntriesBatchSizeBytes=tuning.append_batch_bytes,
            raftMinTimeout=tuning.election_min_s,
            raftMaxTimeout=tuning.election_max_s,
            leaderFallbackTimeout=tuning.election_max_s,
            connectionTimeout=max(3.5, tuning.election_max_s),
            commandsQueueSize=16,
            commandsWaitLeader=False,
            dynamicMembershipChange=False,
            useFork=False,
        )

    # What the replica sees.

    @property
    def term(self) -> int:
        """The current term."""
        return int(self._SyncObj__raftCurrentTerm)

    @property
    def is_leader(self) -> bool:
        """Whether this member leads, as far as it knows."""
        return bool(self._isLeader())

    @property
    def is_candidate(self) -> bool:
        """Whether this member asks for votes."""
        return bool(self._SyncObj__raftState == engine._RAFT_STATE.CANDIDATE)  # noqa: SLF001

    @property
    def leader_id(self) -> str | None:
        """Who leads, as far as this member knows."""
        leader = self._SyncObj__raftLeader
        return None if leader is None else str(leader.id)

    @property
    def members(self) -> Members:
        """Who is of the cluster, by this member's log."""
        return self._members

    @property
    def is_settled(self) -> bool:
        """On a leader: an entry of its own term is decided, and so are the members; they may change again."""
        return self.has_committed_in_term and self._raft_log.members_index <= self.commit_index

    @property
    def has_committed_in_term(self) -> bool:
        """On a leader: an entry of its own term is decided, so its commit index misses nothing acknowledged before."""
        return self._raft_log.term_at(self.commit_index) == self.term

    @property
    def commit_index(self) -> int:
        """Up to here the log is decided."""
        return int(self._SyncObj__raftCommitIndex)

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

    @property
    def last_leader_contact_s(self) -> float:
        """When a living leader was last heard, on the kernel's clock; on a leader: now."""
        return self._clock() if self.is_leader else self._last_leader_contact_s

    @property
    def next_deadline_s(self) -> float:
        """When `step` must be called at the latest, on the kernel's clock."""
        if self.is_leader:
            waits = self._rounds_of_term().is_asked and self.has_committed_in_term
            return 0.0 if waits else float(self._SyncObj__newAppendEntriesTime)
        return float(self._SyncObj__raftElectionDeadline) + (self._stand_back_s if self.stands_back else 0.0)

    @property
    def has_more_to_apply(self) -> bool:
        """Whether the last step left committed entries for the next one, or, with no peer to wait for, entries to
        commit: pysyncobj looks for those before it takes what is proposed."""
        is_left = self._SyncObj__raftCommitIndex > self._SyncObj__raftLastApplied
        is_alone = self.is_leader and not self._SyncObj__otherNodes
        return bool(is_left or (is_alone and self.commit_index < self._raft_log[-1][1]))

    def take_messages(self) -> list[tuple[str, RaftMessage]]:
        """What was sent since the last call, in order: (peer id, message)."""
        taken, self._outbox.messages = self._outbox.messages, []
        return taken

    def peer_connected(self, peer_id: str) -> None:
        """Messages can reach this peer."""
        peer = self._peer(peer_id)
        self._windows[peer] = SendWindow(probing=True)
        self._SyncObj__connectedNodes.add(peer)

    def peer_disconnected(self, peer_id: str) -> None:
        """Messages to this peer are lost."""
        self._SyncObj__connectedNodes.discard(self._peer(peer_id))

    def propose(self, entry: bytes) -> None:
        """Puts an entry into the leader's log with the next step; `refused` counts it if it did not get there."""
        self._bind()
        self._applyCommand(entry, self._on_outcome)

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

    def ask_read(self, node_id: str, number: int) -> None:
        """On a leader: a node, itself too, wants to read; see `reads`. Asks in vain if the leadership ends before."""
        self._rounds_of_term().ask(node_id, number)

    def restart(self, applied_index: int, members: Members) -> None:
        """The state machine and the journal were exchanged for what a snapshot brought; never on a leader."""
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

    @property
    def _stand_back_s(self) -> float:
        return RESIGN_ELECTIONS * self._tuning.election_max_s

    def not_proposed(self) -> None:
        """This member no longer led when it came to the proposal."""
        self.refused += 1

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
        if self._is_withheld_vote(message):
            return
        self._bind()
        self._hold_full_windows()
        peer = self._peer(peer_id)
        self._adopt_term(message)
        if message.HasField("pre_vote_request"):
            self._answer_before_election(peer_id, message)
        elif message.HasField("pre_vote_reply"):
            self._count_before_election(peer_id, message)
        elif message.HasField("timeout_now"):
            self._take_over(peer_id, message)
        elif message.HasField("append_entries") and message.term < self.term:
            # pysyncobj is silent here; without this answer a leader of an older term never learns that it is one
            self._answer(peer, next_index=1, reset=False)
        elif not self._is_stale_reply(peer_id, message):
            self._handle(peer, message)
        self._after_entry()

    # How pysyncobj is held.

    def _tick(self) -> None:
        """pysyncobj's turn. It sees no election deadline but a granted one: it looks at the clock again, and one that
        comes between two looks would begin an election that nobody was asked about. A grant counts now or never."""
        deadline_s = self._SyncObj__raftElectionDeadline
        is_alone = self._is_voter and not self._SyncObj__otherNodes
        if not is_alone and deadline_s != _ELECTION_GRANTED_S:
            self._SyncObj__raftElectionDeadline = math.inf
        self.doTick(0.0)
        if self._SyncObj__raftElectionDeadline == math.inf:
            self._SyncObj__raftElectionDeadline = deadline_s
        elif self._SyncObj__raftElectionDeadline == _ELECTION_GRANTED_S:  # no peer in reach
            self._SyncObj__raftElectionDeadline = self._clock() + self._SyncObj__generateRaftTimeout()

    def _bind(self) -> None:
        engine.monotonicTime = self._clock
        engine.random = self._rng

    def _after_entry(self) -> None:
        self._SyncObj__connectedNodes |= self._held
        self._held.clear()
        self._raft_log.settle()
        if self.commit_index < self._raft_log.committed_index:
            # computed while the tail was hidden: what was decided stays decided
            self._SyncObj__raftCommitIndex = self._raft_log.committed_index
        self._raft_log.committed_index = self.commit_index
        self._follow_members()
        if self.is_leader:
            self.reads += self._rounds_of_term().take_confirmed(self._node_id, self._members.is_majority)

    def _peer(self, node_id: str) -> Peer:
        """By its id, also one that is no member as far as this log tells: it may be a leader that knows more."""
        if node_id not in self._peers:
            self._peers[node_id] = Peer(node_id)
        return self._peers[node_id]

    @property
    def _is_voter(self) -> bool:
        return self._members.is_voter(self._node_id)

    def _begin_round(self) -> None:
        """For reads that wait: the next append_entries, which go out now, ask whether this member still leads."""
        if self.is_leader and self.has_committed_in_term and self._rounds_of_term().begin(self.commit_index):
            self._send_by(0.0)

    def _rounds_of_term(self) -> ReadRounds:
        if self._rounds_term != self.term:
            self._rounds, self._rounds_term = ReadRounds(), self.term
        return self._rounds

    @property
    def round(self) -> int:
        """Of the append_entries that go out."""
        return self._rounds_of_term().round

    @property
    def log_begins_at(self) -> int:
        """The entry before the first that can be sent."""
        return self._raft_log.first_index

    @property
    def is_handed_over(self) -> bool:
        """Whether the leader asked for the election of this term."""
        return self._votes.handed_over_term == self.term

    # Who is of the cluster (fault 15 of pysyncobj: we have the gate, see membership.py).

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

    def _take_over(self, peer_id: str, message: RaftMessage) -> None:
        """The leader asks this voter to call an election at once; heartbeats on their way do not put it off."""
        may_lead = self._is_voter and not self.is_leader and not self.stands_back
        if message.term == self.term and peer_id == self.leader_id and may_lead:
            self._votes = _Votes(handed_over_term=self.term + 1)
            self._SyncObj__raftElectionDeadline = _ELECTION_GRANTED_S
            self._SyncObj__transferInProgress = True

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

    def _handle(self, peer: Node, message: RaftMessage) -> None:
        next_index, known_index = self._SyncObj__raftNextIndex.get(peer, 0), self._beat_index(peer)
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

    def _send_by(self, deadline_s: float) -> None:
        """Lets the next append_entries go out at this time, or earlier."""
        self._SyncObj__newAppendEntriesTime: float = min(self.next_deadline_s, deadline_s)

    def _adopt_term(self, message: RaftMessage) -> None:
        """A newer term in any message but those that pysyncobj adopts itself makes this member a follower in it."""
        if message.term <= self.term or message.HasField("append_entries") or message.HasField("vote_request"):
            return
        self._SyncObj__setCurrentTerm(message.term, None)
        self._SyncObj__setState(engine._RAFT_STATE.FOLLOWER)  # noqa: SLF001
        self._SyncObj__raftLeader = None

    def _is_stale_reply(self, peer_id: str, message: RaftMessage) -> bool:
        """Replies count in their own term and votes once a voter (fault 6 of pysyncobj)."""
        if message.HasField("append_reply"):
            return message.term != self.term or peer_id not in self._members.node_ids
        if message.HasField("vote_reply"):
            if message.term != self.term or peer_id in self._votes.real or not self._members.is_voter(peer_id):
                return True
            self._votes.real.add(peer_id)
        return False

    def _is_withheld_vote(self, message: RaftMessage) -> bool:
        """Who hears a living leader gives no vote, and learns no term from who asks (fault 12 of pysyncobj), unless the
        leader itself wants the election."""
        is_asked = message.HasField("vote_request") and not message.vote_request.handed_over
        return is_asked and self._leader_is_alive()

    def _leader_is_alive(self) -> bool:
        if self.is_leader:
            return True
        silence_s = self._clock() - self._last_leader_contact_s
        return self.leader_id is not None and silence_s < self._tuning.election_min_s

    # The election before the election (Ongaro's thesis, 9.6): a member that was cut off does not raise its term.

    def _election_is_due(self) -> bool:
        """Time to ask; not when the answer is there already, and never alone: then there is nobody to ask."""
        if self.is_leader or not self._is_voter or not self._SyncObj__otherNodes:
            return False
        is_answered = self._SyncObj__raftElectionDeadline == _ELECTION_GRANTED_S
        return not is_answered and self.next_deadline_s < self._clock()

    def _ask_before_election(self) -> None:
        self._SyncObj__raftElectionDeadline = self._clock() + self._SyncObj__generateRaftTimeout()
        self._SyncObj__raftLeader = None
        self._votes = _Votes(before_term=self.term + 1)
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
            self._votes = _Votes()
            self._SyncObj__raftElectionDeadline = _ELECTION_GRANTED_S  # pysyncobj's own begins with the next step

    # Flow control: pysyncobj has none.

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

    def first_of_term(self, index: int) -> int:
        """The first entry, behind what is committed, of the term that this entry has here: the sender's log has another
        term at `index`, so it need not try these one by one (Raft, end of 5.3)."""
        if index > self._raft_log[-1][1]:
            return index
        return self._raft_log.first_of_term(index, self.slowest_index + 1)

    def _drop_late_commands(self) -> None:
        """pysyncobj stops taking commands when a step lasts too long; left there, one would be proposed twice."""
        while True:
            try:
                self._SyncObj__commandsQueue.get_nowait()
            except queue.Empty:
                return
            self.not_proposed()

    def _on_outcome(self, _result: object, error: int) -> None:
        """Called by pysyncobj once for each proposal; what was logged finds its caller when it is applied."""
        if error in (FAIL_REASON.MISSING_LEADER, FAIL_REASON.QUEUE_FULL, FAIL_REASON.NOT_LEADER):
            self.not_proposed()

    # Overrides, by pysyncobj's names.

    def _SyncObj__applyLogEntries(self) -> bool:  # noqa: N802
        """Tells followers of a commit at once only if one of them waits for it.

        Else the news goes with the next entries, or `COMMIT_NOTICE_S` later with a heartbeat: it halves the messages of
        a write.
        """
        if not super()._SyncObj__applyLogEntries() or not self.is_leader:
            return False
        if self.commit_index <= self.prompt_index:
            return True
        self._send_by(self._clock() + COMMIT_NOTICE_S)
        return False

    def _SyncObj__doApplyCommand(self, _command: bytes) -> None:  # noqa: N802
        self.committed.append(self.raftLastApplied + 1)

    def _SyncObj__getEntries(  # noqa: N802
        self, first: int | None, count: int | None = None, max_bytes: int | None = None
    ) -> list[tuple[bytes, int, int]]:
        return self._raft_log.window(first, count, max_bytes)

    def _SyncObj__tryLogCompaction(self) -> None:  # noqa: N802
        """Ours: see `Replica.compact`."""

    def _SyncObj__parseChangeClusterRequest(self, _command: bytes) -> Any:  # noqa: N802
        return None
