"""What callers and peers hand to a member, and what becomes of it on the way to the leader.

Here a caller's proposal is admitted, forwarded where another member leads, and told its verdict; a peer's is taken or
refused; a read is asked for. `replica.py` is the cycle that moves all of it.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from tallystick.errors import Reason
from tallystick.peer.v1.peer_pb2 import (
    Forward,
    ForwardedProposal,
    ForwardRefused,
    MemberChange,
    RaftMessage,
    ReadReply,
    ReadRequest,
)
from tallystick_node.consensus.digests import DigestExchange
from tallystick_node.consensus.handover import Handover
from tallystick_node.consensus.kernel import Kernel
from tallystick_node.consensus.machine import StateMachine
from tallystick_node.consensus.members import Members, decode_members
from tallystick_node.consensus.own_read import OwnRead
from tallystick_node.consensus.proposals import Applied, Proposal, Proposals, Refused, Undecided
from tallystick_node.consensus.raft_log import RaftLog
from tallystick_node.consensus.settings import (
    MAX_COMMAND_BYTES,
    MAX_INBOX_BYTES,
    MAX_INBOX_MESSAGES,
    Tuning,
)
from tallystick_node.storage.journal import Journal

Result = TypeVar("Result")
Verdict = Applied[Result] | Refused | Undecided
Addressed = list[tuple[str, RaftMessage]]


class Intake(Generic[Result]):
    """The half of a replica that faces its callers and peers.

    Args:
        members: who is of the cluster as long as the state machine does not say so: those that it began with. A node
            that joins is none of them, or a learner.
    """

    def __init__(
        self,
        node_id: str,
        members: Members,
        journal: Journal,
        machine: StateMachine[Result],
        *,
        tuning: Tuning,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.node_id = node_id
        self._first_members = members
        self._journal = journal
        self._machine = machine
        self._connected: set[str] = set()
        self._inbox: deque[tuple[str, RaftMessage]] = deque()
        self._inbox_bytes = 0
        self._held: Addressed = []
        self._to_apply: deque[int] = deque()
        self._verdicts: list[tuple[bytes, Verdict[Result]]] = []
        self._tuning = tuning
        self._proposals = Proposals(tuning.max_entry_bytes)
        self._led_in_term = 0
        self._clock = clock
        self._apply_due_s = 0.0
        self._proposed_index = 0
        self._proposed_s = 0.0
        self._proposed_count = 0
        self._accepts_writes = True
        self._handover: Handover | None = None
        self._read = OwnRead(rng.getrandbits(48))
        self._digests = DigestExchange(node_id, machine.digest_at)
        self.kernel = self._make_kernel(
            node_id,
            RaftLog(journal, machine.applied_index, self._applied_members()),
            lambda: journal.durable_index,
            tuning=tuning,
            clock=clock,
            rng=rng,
        )
        self.kernel.is_behind = self.is_behind

    _make_kernel = Kernel

    def receive(self, peer_id: str, message: RaftMessage) -> None:
        """A message arrived; it is handled with the next step."""
        size_bytes = message.ByteSize()
        if len(self._inbox) < MAX_INBOX_MESSAGES and self._inbox_bytes + size_bytes <= MAX_INBOX_BYTES:
            self._inbox.append((peer_id, message))
            self._inbox_bytes += size_bytes

    def peer_connected(self, peer_id: str) -> None:
        """Messages can reach this peer."""
        self._connected.add(peer_id)
        self.kernel.peer_connected(peer_id)
        self._digests.connected(peer_id)

    def peer_disconnected(self, peer_id: str) -> None:
        """Messages to this peer are lost."""
        self._connected.discard(peer_id)
        self.kernel.peer_disconnected(peer_id)

    def propose(self, proposal_id: bytes, command: bytes) -> None:
        """Wants a command in the log; the verdict comes under this id.

        Raises:
            ValueError: the command is larger than `MAX_COMMAND_BYTES`; callers check before.
        """
        if len(command) > MAX_COMMAND_BYTES:
            raise ValueError(f"a command of {len(command)} bytes; at most {MAX_COMMAND_BYTES} are admitted")
        if command and not self._accepts_writes:
            self._verdicts.append((proposal_id, Refused(Reason.DISK_FULL)))
        elif not self._proposals.admit(Proposal(proposal_id, command)):
            self._verdicts.append((proposal_id, Refused(Reason.OVERLOADED)))

    def propose_change(self, proposal_id: bytes, change: MemberChange) -> None:
        """Wants the members changed; the verdict comes under this id, and the leader may refuse (`membership.py`)."""
        if not self._proposals.admit(Proposal(proposal_id, b"", change=change)):
            self._verdicts.append((proposal_id, Refused(Reason.OVERLOADED)))

    def give_up(self, proposal_id: bytes, *, only_queued: bool = False) -> bool:
        """The caller waits no longer; with `only_queued`, unless it went out. True: it never did, nothing happened."""
        was_queued = self._proposals.is_queued(proposal_id)
        if was_queued or not only_queued:
            self._proposals.forget(proposal_id)
        return was_queued

    def begin_read(self) -> int:
        """Wants to know when all that was acknowledged before is applied here; see `take_read`. One at a time."""
        return self._read.begin()

    def end_read(self) -> None:
        """The reader waits no longer."""
        self._read.end()

    def hand_over(self, to_node_id: str | None = None) -> None:
        """On a leader: lets a voter lead, this one or the one with most of the log. Elsewhere nothing happens."""
        if self.kernel.is_leader:
            self._handover = Handover(to_node_id, self._clock() + self._tuning.election_max_s)

    # What it is.

    @property
    def members(self) -> Members:
        """Who is of the cluster, by this member's log."""
        return self.kernel.members

    @property
    def has_leader(self) -> bool:
        """Whether this member leads, or can send to who does."""
        return self.kernel.is_leader or self._leader_in_reach is not None

    @property
    def can_hand_over(self) -> bool:
        """Whether another voter is in reach."""
        return any(node_id in self._connected for node_id in self.members.voter_ids)

    @property
    def is_behind(self) -> bool:
        """The journal begins behind what the state machine has applied: that was lost, and a snapshot must replace it.
        Until then this member neither applies nor leads, and nothing should be read from it. Who the members are may
        have been lost with it: elected by those of long ago it could decide against those of now."""
        return self._machine.applied_index < self._journal.base_index

    @property
    def may_be_read(self) -> bool:
        """Whether what is applied here may be answered with: it was not lost, and a majority does not say otherwise."""
        return not self.is_behind and self.node_id not in self._digests.odd

    @property
    def accepts_writes(self) -> bool:
        """Off while the disk is nearly full: commands, forwarded ones too, are refused; all else passes."""
        return self._accepts_writes

    @accepts_writes.setter
    def accepts_writes(self, accepts: bool) -> None:
        if self._accepts_writes and not accepts and self.kernel.is_leader:
            self.kernel.resign()  # the others may have room; if none has, one of them leads for the reads
        self._accepts_writes = accepts
        self.kernel.stands_back = not accepts

    # What arrived.

    def _handle(self, peer_id: str, message: RaftMessage) -> None:
        if message.HasField("forward"):
            self._take_forwarded(peer_id, message.forward)
        elif message.HasField("forward_refused"):
            known = message.forward_refused.reason in Reason.__members__
            reason = Reason(message.forward_refused.reason) if known else Reason.NO_LEADER
            for proposal_id in message.forward_refused.ids:
                self._give_verdict(proposal_id, Refused(reason))
        elif message.HasField("read_request"):
            if self.kernel.is_leader:
                self.kernel.ask_read(peer_id, message.read_request.number)
        elif message.HasField("read_reply"):
            self._read.answered(message.read_reply.number, message.read_reply.index)
        elif message.HasField("state_digest"):
            self._digests.heard(peer_id, message.state_digest, self.kernel.members)
        elif (
            message.WhichOneof("body") is not None
        ):  # none: a kind of a newer node; whatever it says, it is not said to us
            self.kernel.receive(peer_id, message)

    def _take_forwarded(self, peer_id: str, forward: Forward) -> None:
        refused: dict[Reason, list[bytes]] = {}
        for item in forward.proposals:
            change = item.change if item.HasField("change") else None
            proposal = Proposal(item.id, item.command, peer_id, change)
            if len(item.command) > MAX_COMMAND_BYTES:
                refused.setdefault(Reason.TOO_LARGE, []).append(item.id)
            elif not self.kernel.is_leader:
                refused.setdefault(Reason.NO_LEADER, []).append(item.id)
            elif item.command and not self._accepts_writes:
                refused.setdefault(Reason.DISK_FULL, []).append(item.id)
            elif not self._proposals.admit(proposal):
                refused.setdefault(Reason.OVERLOADED, []).append(item.id)
        for reason, ids in refused.items():
            self._refuse_forwarded(peer_id, ids, reason)

    def _refuse_forwarded(self, peer_id: str, ids: list[bytes], reason: Reason) -> None:
        refusal = ForwardRefused(ids=ids, reason=reason)
        self._held.append((peer_id, RaftMessage(term=self.kernel.term, forward_refused=refusal)))

    def _refuse(self, proposal: Proposal, reason: Reason) -> None:
        if proposal.peer_id is None:
            self._give_verdict(proposal.id, Refused(reason))
        else:
            self._refuse_forwarded(proposal.peer_id, [proposal.id], reason)

    # What goes to the leader, and the verdicts.

    @property
    def _leader_in_reach(self) -> str | None:
        leader_id = self.kernel.leader_id
        return leader_id if leader_id in self._connected else None

    def _forward(self) -> None:
        leader_id = self._leader_in_reach
        if leader_id is None or not len(self._proposals):
            return
        batch = self._proposals.take_batch(self.kernel.term)
        items = [
            ForwardedProposal(id=proposal.id, command=proposal.command, change=proposal.change) for proposal in batch
        ]
        self._held.append((leader_id, RaftMessage(term=self.kernel.term, forward=Forward(proposals=items))))

    def _follow_leadership(self) -> None:
        """Ends the waiting for what went out under an older term, or under a leadership that is over."""
        if self.kernel.is_leader:
            self._led_in_term = self.kernel.term
            return
        for proposal in self._proposals.take_foreign():
            if proposal.peer_id is not None:
                self._refuse_forwarded(proposal.peer_id, [proposal.id], Reason.NO_LEADER)
        lost = self._led_in_term == self.kernel.term
        self._led_in_term = 0
        for proposal_id in self._proposals.sent() if lost else self._proposals.sent_before(self.kernel.term):
            self._give_verdict(proposal_id, Undecided.UNDECIDED)

    def _give_verdict(self, proposal_id: bytes, verdict: Verdict[Result]) -> None:
        if self._proposals.is_own(proposal_id):
            self._proposals.forget(proposal_id)
            self._verdicts.append((proposal_id, verdict))

    def _ask_to_read(self) -> None:
        leader_id = self.node_id if self.kernel.is_leader else self._leader_in_reach
        if leader_id is None or not self._read.must_ask(leader_id, self.kernel.term, self._clock()):
            return
        if self.kernel.is_leader:
            self.kernel.ask_read(self.node_id, self._read.number)
        else:
            message = RaftMessage(term=self.kernel.term, read_request=ReadRequest(number=self._read.number))
            self._held.append((leader_id, message))

    def _take_reads(self) -> None:
        """What this leader may let go; it was asked by itself or by others."""
        for read in self.kernel.reads:
            if read.node_id == self.node_id:
                self._read.answered(read.number, read.index)
            else:
                reply = ReadReply(number=read.number, index=read.index)
                self._held.append((read.node_id, RaftMessage(term=self.kernel.term, read_reply=reply)))
        self.kernel.reads.clear()

    def _applied_members(self) -> Members:
        applied = self._machine.members
        return self._first_members if applied is None else decode_members(applied)
