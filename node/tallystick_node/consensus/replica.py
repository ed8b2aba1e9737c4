"""One member's consensus without I/O: what came in, what must be synced, what may be sent, what is to be applied.

The control loop of whoever owns a replica (the runner on a real node, the simulation in tests), in this order:

    1. hand in what arrived: `receive`, `peer_connected`, `propose`
    2. `ready = replica.step()`
    3. send `ready.send_now` (only a leader's append_entries: a leader may send before it has synced)
    4. if `ready.flush`: `journal.write_flush(ready.flush)`, on another thread if you like; nothing else may touch the
       replica but 1 and 5 until it is done, then `journal.finish_flush(ready.flush)`; again with `journal.take_flush()`
       until that is None, for a flush has a limit
    5. `replica.apply()`: what is committed and on this disk goes to the state machine
    6. send `replica.take_held()`: all else that the step sent (votes, acknowledgements) speaks of what is on disk
    7. hand `replica.take_verdicts()` to the callers; again from 1 at once if `replica.has_work`, else when something
       arrives or `replica.next_deadline_s` comes

Rules of this file: no clock, no thread, no await; it decides nothing about Raft (the kernel does).
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
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
from tallystick_node.consensus.entries import decode_entry, encode_commands, encode_members_entry
from tallystick_node.consensus.handover import Handover
from tallystick_node.consensus.kernel import Kernel
from tallystick_node.consensus.machine import CommittedEntry, StateMachine
from tallystick_node.consensus.members import Members, decode_members
from tallystick_node.consensus.membership import Leadership, changed_members
from tallystick_node.consensus.own_read import OwnRead
from tallystick_node.consensus.proposals import Applied, Proposal, Proposals, Refused, Undecided
from tallystick_node.consensus.raft_log import RaftLog
from tallystick_node.consensus.settings import (
    ALONE_PROPOSALS,
    APPLY_BATCH_BYTES,
    APPLY_BATCH_ENTRIES,
    FOLLOWER_APPLY_ENTRIES,
    FOLLOWER_APPLY_S,
    GATHER_BYTES,
    GATHER_S,
    MAX_COMMAND_BYTES,
    MAX_INBOX_BYTES,
    MAX_INBOX_MESSAGES,
    Tuning,
)
from tallystick_node.storage.journal import Entry, Flush, Journal

Result = TypeVar("Result")
Verdict = Applied[Result] | Refused | Undecided
Addressed = list[tuple[str, RaftMessage]]


@dataclass(frozen=True, slots=True)
class Ready:
    """What a step asks of the outside."""

    send_now: Addressed
    flush: Flush | None


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """What a member knows of itself; indexes as in the node's DESIGN.md."""

    is_leader: bool
    is_candidate: bool
    leader_id: str | None
    term: int
    commit_index: int
    applied_index: int
    durable_index: int
    first_index: int
    last_index: int
    match_indexes: dict[str, int]
    members: Members
    odd: frozenset[str]
    connected: frozenset[str]
    last_leader_contact_s: float


class Replica(Generic[Result]):
    """See the module.

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

        self.kernel.stands_back = self.is_behind

    _make_kernel = Kernel

    # In.

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

    @property
    def can_hand_over(self) -> bool:
        """Whether another voter is in reach."""
        return any(node_id in self._connected for node_id in self.members.voter_ids)

    def restart(self) -> None:
        """The state machine, and the journal where it had to, were exchanged for what a snapshot brought. Call it
        between two cycles. What was on its way may be part of it, or not."""
        self._to_apply.clear()
        self.kernel.restart(self._machine.applied_index, self._applied_members())
        self.kernel.stands_back = self.is_behind or not self._accepts_writes
        for proposal_id in self._proposals.sent():
            self._give_verdict(proposal_id, Undecided.UNDECIDED)

    @property
    def is_behind(self) -> bool:
        """The journal begins behind what the state machine has applied: that was lost, and a snapshot must replace it.
        Until then this member neither applies nor leads, and nothing should be read from it."""
        return self._machine.applied_index < self._journal.base_index

    @property
    def wanted_index(self) -> int:
        """0, or: a snapshot that reaches at least this index is needed to go on."""
        return max(self.kernel.wanted_index, self._journal.base_index if self.is_behind else 0)

    @property
    def has_leader(self) -> bool:
        """Whether this member leads, or can send to who does."""
        return self.kernel.is_leader or self._leader_in_reach is not None

    @property
    def members(self) -> Members:
        """Who is of the cluster, by this member's log."""
        return self.kernel.members

    @property
    def accepts_writes(self) -> bool:
        """Off while the disk is nearly full: commands, forwarded ones too, are refused; barriers, so reads, pass."""
        return self._accepts_writes

    @accepts_writes.setter
    def accepts_writes(self, accepts: bool) -> None:
        if self._accepts_writes and not accepts and self.kernel.is_leader:
            self.kernel.resign()  # the others may have room; if none has, one of them leads for the reads
        self._accepts_writes = accepts
        self.kernel.stands_back = self.is_behind or not accepts

    def give_up(self, proposal_id: bytes, *, only_queued: bool = False) -> bool:
        """The caller waits no longer; with `only_queued`, unless it went out. True: it never did, nothing happened."""
        was_queued = self._proposals.is_queued(proposal_id)
        if was_queued or not only_queued:
            self._proposals.forget(proposal_id)
        return was_queued

    # The cycle.

    def step(self) -> Ready:
        """Handles what arrived, moves Raft on, and says what to send and what to sync."""
        while self._inbox:
            peer_id, message = self._inbox.popleft()
            self._handle(peer_id, message)
        self._inbox_bytes = 0
        if not self.kernel.is_leader:
            self._forward()
        self._ask_to_read()
        self._go_on_handing_over()
        batch = self._take_batch() if self._may_propose() else []
        self.kernel.step()
        if self.kernel.refused:
            self.kernel.refused = 0
            self._proposals.put_back(batch)
        elif batch:
            self._proposed_index, self._proposed_s = self._journal.last_index, self._clock()
            self._proposed_count = len(batch)
        self._follow_leadership()
        self._take_reads()
        self._take_committed()
        self._exchange_digests()
        return Ready(self._sort_messages(), self._journal.take_flush())

    def apply(self) -> None:
        """Applies what is committed and synced here; a bounded piece of it, see `has_work`.

        Raises:
            DiskFull: nothing was applied; call again later.
        """
        if not self._apply_is_due():
            return
        entries = self._next_entries()
        decoded = [decode_entry(entry.data) for entry in entries]
        committed = [
            CommittedEntry(
                entry.index,
                entry.term,
                tuple(command for _, command in held.proposals),
                None if held.members is None else held.members.encode(),
            )
            for entry, held in zip(entries, decoded, strict=True)
        ]
        results = self._machine.apply(committed)
        for _ in entries:
            self._to_apply.popleft()
        for held, entry_results in zip(decoded, results, strict=True):
            for (proposal_id, _), result in zip(held.proposals, entry_results, strict=True):
                if self._proposals.is_own(proposal_id):
                    self._give_verdict(proposal_id, Applied(result))

    def take_held(self) -> Addressed:
        """What the last step sent and what speaks of what is on disk: send it once the flush is finished."""
        held, self._held = self._held, []
        return held

    def take_verdicts(self) -> list[tuple[bytes, Verdict[Result]]]:
        """What became of proposals since the last call."""
        verdicts, self._verdicts = self._verdicts, []
        return verdicts

    def take_read(self) -> int | None:
        """The number of the read that may be served now: all that was acknowledged before it began is applied here."""
        return self._read.take_ready(self._machine.applied_index)

    def compact(self) -> None:
        """Drops journal segments that the state machine has on disk, and that no member lacks as far as there is room
        for what slow ones lack."""
        # the entry before the first one sent must be here too: pysyncobj asks for its term
        index = min(self._machine.durable_index, self._journal.last_index - self._tuning.journal_tail_entries)
        if self._journal.size_bytes <= self._tuning.journal_kept_bytes:
            index = min(index, self.kernel.slowest_index)
        if index >= self._journal.first_index:
            self._journal.compact_to(index)

    @property
    def has_work(self) -> bool:
        """Whether the next step has something to do at once."""
        can_send = self._may_propose() if self.kernel.is_leader else self._leader_in_reach is not None
        can_propose = len(self._proposals) > 0 and can_send
        return bool(self._inbox) or can_propose or self._apply_is_due() or self.kernel.has_more_to_apply

    @property
    def next_deadline_s(self) -> float:
        """When to step at the latest, on the clock given."""
        due_s = min(self.kernel.next_deadline_s, self._read.retry_s if self._leader_in_reach else math.inf)
        if self._to_apply:
            due_s = min(due_s, self._apply_due_s)
        if len(self._proposals) and self.kernel.is_leader:
            due_s = min(due_s, self._proposed_s + GATHER_S)
        return due_s

    def status(self) -> ReplicaStatus:
        """What this member knows of itself."""
        kernel, journal = self.kernel, self._journal
        return ReplicaStatus(
            is_leader=kernel.is_leader,
            is_candidate=kernel.is_candidate,
            leader_id=kernel.leader_id,
            term=kernel.term,
            commit_index=kernel.commit_index,
            applied_index=self._machine.applied_index,
            durable_index=journal.durable_index,
            first_index=journal.first_index,
            last_index=journal.last_index,
            match_indexes=kernel.match_indexes,
            members=kernel.members,
            odd=self._digests.odd,
            connected=frozenset(self._connected),
            last_leader_contact_s=kernel.last_leader_contact_s,
        )

    # Inside.

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

    def _sort_messages(self) -> Addressed:
        """Splits what the kernel sent: a leader's append_entries may go at once, all else waits for the sync."""
        messages = self.kernel.take_messages()
        leads = self.kernel.is_leader
        now = [item for item in messages if leads and item[1].HasField("append_entries")]
        self._held += [item for item in messages if not (leads and item[1].HasField("append_entries"))]
        return now

    def _may_propose(self) -> bool:
        """Whether this member leads, and nothing is to be gained by letting proposals gather for a moment.

        One caller after another waits for nobody. Where several come at a time, an entry for each would cost all nodes
        more than the callers wait here.
        """
        if not self.kernel.is_leader or self._handover is not None:
            return False
        is_under_way = self._proposed_index > self.kernel.commit_index
        if not is_under_way and self._proposed_count + len(self._proposals) <= ALONE_PROPOSALS:
            return True
        waited_s = self._clock() - self._proposed_s
        return waited_s >= GATHER_S or self._proposals.queued_bytes >= GATHER_BYTES

    def _take_batch(self) -> list[Proposal]:
        """Hands the next entry to the kernel; what it holds."""
        batch = self._proposals.take_batch(self.kernel.term)
        if not batch:
            return batch
        if batch[0].change is not None:
            entry = self._members_entry(batch[0].id, batch[0].change)
            if isinstance(entry, Reason):
                self._refuse(batch[0], entry)
                return []
        else:
            entry = encode_commands((proposal.id, proposal.command) for proposal in batch)
        self.kernel.propose(entry)
        if any(proposal.peer_id is not None for proposal in batch):
            self.kernel.prompt_index = self._journal.last_index + 1
        return batch

    def _members_entry(self, proposal_id: bytes, change: MemberChange) -> bytes | Reason:
        kernel = self.kernel
        leadership = Leadership(
            self.node_id, kernel.members, kernel.is_settled, self._journal.last_index, kernel.match_indexes
        )
        members = changed_members(change, leadership)
        if isinstance(members, Reason):
            if members is Reason.NO_LEADER:  # this member itself is to be removed
                self.hand_over()
            return members
        return encode_members_entry(proposal_id, members)

    def _refuse(self, proposal: Proposal, reason: Reason) -> None:
        if proposal.peer_id is None:
            self._give_verdict(proposal.id, Refused(reason))
        else:
            self._refuse_forwarded(proposal.peer_id, [proposal.id], reason)

    def _applied_members(self) -> Members:
        applied = self._machine.members
        return self._first_members if applied is None else decode_members(applied)

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

    def _go_on_handing_over(self) -> None:
        handover, now_s = self._handover, self._clock()
        if handover is None:
            return
        if not self.kernel.is_leader or now_s >= handover.deadline_s:
            self._handover = None
            return
        voters = self.kernel.members.voter_ids
        matching = {
            node_id: index
            for node_id, index in self.kernel.match_indexes.items()
            if node_id in voters and node_id in self._connected
        }
        successor = handover.successor(matching, self._journal.last_index)
        if successor is not None and now_s >= handover.asked_s + self._tuning.heartbeat_s:
            handover.asked_s = now_s
            self.kernel.hand_over(successor)

    def _exchange_digests(self) -> None:
        applied_index, members = self._machine.applied_index, self.kernel.members
        if self.kernel.is_leader:
            self._digests.name_index(applied_index, self._clock())
        report = self._digests.take_report(applied_index, members)
        if report is not None:
            message = RaftMessage(term=self.kernel.term, state_digest=report)
            self._held += [(node_id, message) for node_id in members.node_ids if node_id != self.node_id]

    def _take_committed(self) -> None:
        if self.kernel.committed and not self._to_apply:
            self._apply_due_s = self._clock() + FOLLOWER_APPLY_S
        self._to_apply.extend(self.kernel.committed)
        self.kernel.committed.clear()

    def _apply_is_due(self) -> bool:
        """Whether to apply now. A follower at which no caller waits gathers a few entries for one transaction."""
        if not self._to_apply or self._to_apply[0] > self._journal.durable_index or self.is_behind:
            return False
        is_awaited = self.kernel.is_leader or self._proposals.has_callers or self._read.is_waiting
        return is_awaited or len(self._to_apply) >= FOLLOWER_APPLY_ENTRIES or self._clock() >= self._apply_due_s

    def _next_entries(self) -> list[Entry]:
        """The next committed entries that are synced here, as many as one application may take.

        Nothing is applied that this disk does not have: after a crash the state machine is never ahead of the journal.
        """
        first = self._to_apply[0]
        last = min(self._to_apply[-1], self._journal.durable_index, first + APPLY_BATCH_ENTRIES - 1)
        return self._journal.entries(first, last + 1, APPLY_BATCH_BYTES)
