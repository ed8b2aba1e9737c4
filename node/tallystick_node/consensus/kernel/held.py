"""The state of a kernel, its time, and the places where pysyncobj calls us or is kept from acting."""

from __future__ import annotations

import math
import queue
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, cast

import pysyncobj.syncobj as engine
from pysyncobj.config import FAIL_REASON, SyncObjConf
from pysyncobj.node import Node

from tallystick.peer.v1.peer_pb2 import RaftMessage
from tallystick_node.consensus.outbox import Outbox, Sender
from tallystick_node.consensus.raft_log import RaftLog
from tallystick_node.consensus.read_rounds import Read, ReadRounds
from tallystick_node.consensus.send_window import SendWindow
from tallystick_node.consensus.settings import COMMIT_NOTICE_S, Tuning
from tallystick_node.consensus.stand_ins import MatchIndex, NoDumps, Peer

ELECTION_GRANTED_S: Final = 0.0
"""In the place of an election deadline: a majority would vote for us in the next term. No clock shows it; any vote,
leader or newer term ends it."""

_LEADER: Final = engine._RAFT_STATE.LEADER  # noqa: SLF001


@dataclass(slots=True)
class Votes:
    """Who voted for us, once each (fault 6 of pysyncobj), in the real election and in the one before it."""

    real: set[str] = field(default_factory=set)
    real_term: int = 0
    before: set[str] = field(default_factory=set)
    before_term: int = 0
    granted_term: int = 0
    """The election of this term was granted."""
    handed_over_term: int = 0
    """The leader itself asked for the election of this term."""

    def is_new(self, voter_id: str, term: int) -> bool:
        """Counts a vote; False if it was counted before. pysyncobj's count lasts as long as the term, so this does."""
        if self.real_term != term:
            self.real, self.real_term = set(), term
        was_counted = voter_id in self.real
        self.real.add(voter_id)
        return not was_counted


class Held(engine.SyncObj):  # type: ignore[misc]
    """See the module."""

    _SyncObj__otherNodes: set[Node]
    _SyncObj__readonlyNodes: set[Node]
    _SyncObj__raftElectionDeadline: float

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
        self._votes = Votes()
        self._rounds = ReadRounds()
        self._rounds_term = 0
        self._windows: dict[Node, SendWindow] = {}
        self._held: set[Node] = set()
        self._slowest_index = raft_log.first_index
        self._durable_index = durable_index
        self._outbox = Outbox(cast("Sender", self))  # the whole of it is one
        self._last_leader_contact_s = clock() - tuning.election_max_s
        self.committed: list[int] = []
        """Indexes that were found committed, in order, for the replica to take."""
        self.stands_back = False
        """Lets every other member ask for votes first: this one could lead, but take no writes."""
        self.is_behind = False
        """Its state is lost, and who the members are with it: it calls no election."""
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

    # What it knows.

    @property
    def term(self) -> int:
        """The current term."""
        return int(self._SyncObj__raftCurrentTerm)

    @property
    def is_leader(self) -> bool:
        """Whether this member leads, as far as it knows."""
        return bool(self._SyncObj__raftState == _LEADER)

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
    def commit_index(self) -> int:
        """Up to here the log is decided."""
        return int(self._SyncObj__raftCommitIndex)

    @property
    def last_leader_contact_s(self) -> float:
        """When a living leader was last heard, on the kernel's clock; on a leader: now."""
        return self._clock() if self.is_leader else self._last_leader_contact_s

    @property
    def _is_voter(self) -> bool:
        return self._members.is_voter(self._node_id)

    @property
    def _may_lead(self) -> bool:
        return self._is_voter and not self.is_behind

    def take_messages(self) -> list[tuple[str, RaftMessage]]:
        """What was sent since the last call, in order: (peer id, message)."""
        taken, self._outbox.messages = self._outbox.messages, []
        return taken

    def propose(self, entry: bytes) -> None:
        """Puts an entry into the leader's log with the next step; `refused` counts it if it did not get there."""
        self._bind()
        self._applyCommand(entry, self._on_outcome)

    def not_proposed(self) -> None:
        """This member no longer led when it came to the proposal."""
        self.refused += 1

    # How pysyncobj is driven.

    def _bind(self) -> None:
        engine.monotonicTime = self._clock
        engine.random = self._rng

    def _tick(self) -> None:
        """pysyncobj's turn. It sees no election deadline but a granted one: it looks at the clock again, and one that
        comes between two looks would begin an election that nobody was asked about. A grant counts now or never."""
        deadline_s = self._SyncObj__raftElectionDeadline
        is_granted = self._votes.granted_term == self.term + 1 and self._may_lead
        if deadline_s == ELECTION_GRANTED_S and not is_granted:  # it was for an older term, or as a voter
            deadline_s = self._clock() + self._SyncObj__generateRaftTimeout()
        is_alone = not self._SyncObj__otherNodes and self._may_lead
        if not is_alone and deadline_s != ELECTION_GRANTED_S:
            self._SyncObj__raftElectionDeadline = math.inf
        self.doTick(0.0)
        if self._SyncObj__raftElectionDeadline == math.inf:
            self._SyncObj__raftElectionDeadline = deadline_s
        elif self._SyncObj__raftElectionDeadline == ELECTION_GRANTED_S:  # no peer in reach
            self._SyncObj__raftElectionDeadline = self._clock() + self._SyncObj__generateRaftTimeout()
        self._SyncObj__transferInProgress = False  # else, where nothing came of it, no heartbeat would count any more

    def _peer(self, node_id: str) -> Peer:
        """By its id, also one that is no member as far as this log tells: it may be a leader that knows more."""
        if node_id not in self._peers:
            self._peers[node_id] = Peer(node_id)
        return self._peers[node_id]

    def _send_by(self, deadline_s: float) -> None:
        """Lets the next append_entries go out at this time, or earlier."""
        self._SyncObj__newAppendEntriesTime: float = min(self.next_deadline_s, deadline_s)

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
