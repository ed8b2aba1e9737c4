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
from dataclasses import dataclass

from tallystick.errors import Reason
from tallystick.peer.v1.peer_pb2 import (
    MemberChange,
    RaftMessage,
)
from tallystick_node.consensus.entries import decode_entry, encode_commands, encode_members_entry
from tallystick_node.consensus.intake import Addressed, Intake, Result, Verdict
from tallystick_node.consensus.machine import CommittedEntry
from tallystick_node.consensus.members import Members
from tallystick_node.consensus.membership import Leadership, changed_members
from tallystick_node.consensus.proposals import Applied, Proposal, Undecided
from tallystick_node.consensus.settings import (
    ALONE_PROPOSALS,
    APPLY_BATCH_BYTES,
    APPLY_BATCH_ENTRIES,
    FOLLOWER_APPLY_ENTRIES,
    FOLLOWER_APPLY_S,
    GATHER_BYTES,
    GATHER_S,
)
from tallystick_node.storage.journal import Entry, Flush


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


class Replica(Intake[Result]):
    """See the module."""

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

    def restart(self) -> None:
        """The state machine, and the journal where it had to, were exchanged for what a snapshot brought. Call it
        between two cycles. What was on its way may be part of it, or not."""
        self._to_apply.clear()
        self.kernel.restart(self._machine.applied_index, self._applied_members())
        self.kernel.is_behind = self.is_behind
        for proposal_id in self._proposals.sent():
            self._give_verdict(proposal_id, Undecided.UNDECIDED)

    @property
    def wanted_index(self) -> int:
        """0, or: a snapshot that reaches at least this index is needed to go on."""
        return max(self.kernel.wanted_index, self._journal.base_index if self.is_behind else 0)

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
        if self._to_apply and not self.is_behind:
            due_s = min(due_s, self._apply_due_s)
        if len(self._proposals) and self.kernel.is_leader and self._handover is None:
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
            self.node_id,
            kernel.members,
            kernel.is_settled,
            self._journal.last_index,
            kernel.match_indexes,
            kernel.members_index,
        )
        members = changed_members(change, leadership)
        if isinstance(members, Reason):
            if members is Reason.NO_LEADER:  # this member itself is to be removed
                self.hand_over()
            return members
        return encode_members_entry(proposal_id, members)

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
        last, came = self._digests.take_repeated()
        report = self._digests.take_report(applied_index, members, self._clock())
        to = came if report is None else frozenset(members.node_ids)
        told = report or last
        if told is not None and to:
            message = RaftMessage(term=self.kernel.term, state_digest=told)
            self._held += [(node_id, message) for node_id in members.node_ids if node_id in to - {self.node_id}]

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
