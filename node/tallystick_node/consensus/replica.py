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

import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from tallystick.errors import Reason
from tallystick.peer.v1.peer_pb2 import Forward, ForwardedProposal, ForwardRefused, RaftMessage
from tallystick_node.consensus.kernel import Kernel
from tallystick_node.consensus.machine import CommittedEntry, StateMachine
from tallystick_node.consensus.proposals import (
    Applied,
    Proposal,
    Proposals,
    Refused,
    Undecided,
    decode_entry,
    encode_entry,
)
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

_COMMANDS: Final = 0
"""First byte of an entry's data: commands follow (pysyncobj's REGULAR). Anything else is pysyncobj's own: a no-op."""


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
    connected: frozenset[str]
    last_leader_contact_s: float


class Replica(Generic[Result]):
    """See the module."""

    def __init__(
        self,
        node_id: str,
        peer_ids: Iterable[str],
        journal: Journal,
        machine: StateMachine[Result],
        *,
        tuning: Tuning,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._journal = journal
        self._machine = machine
        self._connected: set[str] = set()
        self._inbox: deque[tuple[str, RaftMessage]] = deque()
        self._inbox_bytes = 0
        self._held: Addressed = []
        self._to_apply: deque[int] = deque()
        self._verdicts: list[tuple[bytes, Verdict[Result]]] = []
        self._tail_entries = tuning.journal_tail_entries
        self._proposals = Proposals(tuning.max_entry_bytes)
        self._led_in_term = 0
        self._clock = clock
        self._apply_due_s = 0.0
        self._proposed_index = 0
        self._proposed_s = 0.0
        self._proposed_count = 0
        self._accepts_writes = True
        self.kernel = self._make_kernel(
            node_id,
            peer_ids,
            RaftLog(journal, machine.applied_index),
            lambda: journal.durable_index,
            tuning=tuning,
            clock=clock,
            rng=rng,
        )

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

    @property
    def accepts_writes(self) -> bool:
        """Off while the disk is nearly full: commands, forwarded ones too, are refused; barriers, so reads, pass."""
        return self._accepts_writes

    @accepts_writes.setter
    def accepts_writes(self, accepts: bool) -> None:
        if self._accepts_writes and not accepts and self.kernel.is_leader:
            self.kernel.resign()  # the others may have room; if none has, one of them leads for the reads
        self._accepts_writes = accepts
        self.kernel.stands_back = not accepts

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
        batch = self._proposals.take_batch(self.kernel.term) if self._may_propose() else []
        if batch:
            self.kernel.propose(bytes((_COMMANDS,)) + encode_entry(batch))
            if any(proposal.peer_id is not None for proposal in batch):
                self.kernel.prompt_index = self._journal.last_index + 1
        self.kernel.step()
        if self.kernel.refused:
            self.kernel.refused = 0
            self._proposals.put_back(batch)
        elif batch:
            self._proposed_index, self._proposed_s = self._journal.last_index, self._clock()
            self._proposed_count = len(batch)
        self._follow_leadership()
        self._take_committed()
        return Ready(self._sort_messages(), self._journal.take_flush())

    def apply(self) -> None:
        """Applies what is committed and synced here; a bounded piece of it, see `has_work`.

        Raises:
            DiskFull: nothing was applied; call again later.
        """
        if not self._apply_is_due():
            return
        entries = self._next_entries()
        decoded = [decode_entry(entry.data[1:]) if entry.data[0] == _COMMANDS else [] for entry in entries]
        committed = [
            CommittedEntry(entry.index, entry.term, tuple(command for _, command in pairs))
            for entry, pairs in zip(entries, decoded, strict=True)
        ]
        results = self._machine.apply(committed)
        for _ in entries:
            self._to_apply.popleft()
        for pairs, entry_results in zip(decoded, results, strict=True):
            for (proposal_id, _), result in zip(pairs, entry_results, strict=True):
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

    def compact(self) -> None:
        """Drops journal segments that the state machine has on disk and no member lacks."""
        # the entry before the first one sent must be here too: pysyncobj asks for its term
        kept_from = self._journal.last_index - self._tail_entries
        index = min(self._machine.durable_index, self.kernel.slowest_index, kept_from)
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
        due_s = self.kernel.next_deadline_s
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
        elif (
            message.WhichOneof("body") is not None
        ):  # none: a kind of a newer node; whatever it says, it is not said to us
            self.kernel.receive(peer_id, message)

    def _take_forwarded(self, peer_id: str, forward: Forward) -> None:
        refused: dict[Reason, list[bytes]] = {}
        for item in forward.proposals:
            proposal = Proposal(item.id, item.command, peer_id)
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
        items = [ForwardedProposal(id=proposal.id, command=proposal.command) for proposal in batch]
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
        if not self.kernel.is_leader:
            return False
        is_under_way = self._proposed_index > self.kernel.commit_index
        if not is_under_way and self._proposed_count + len(self._proposals) <= ALONE_PROPOSALS:
            return True
        waited_s = self._clock() - self._proposed_s
        return waited_s >= GATHER_S or self._proposals.queued_bytes >= GATHER_BYTES

    def _take_committed(self) -> None:
        if self.kernel.committed and not self._to_apply:
            self._apply_due_s = self._clock() + FOLLOWER_APPLY_S
        self._to_apply.extend(self.kernel.committed)
        self.kernel.committed.clear()

    def _apply_is_due(self) -> bool:
        """Whether to apply now. A follower at which no caller waits gathers a few entries for one transaction."""
        if not self._to_apply or self._to_apply[0] > self._journal.durable_index:
            return False
        is_awaited = self.kernel.is_leader or self._proposals.has_callers
        return is_awaited or len(self._to_apply) >= FOLLOWER_APPLY_ENTRIES or self._clock() >= self._apply_due_s

    def _next_entries(self) -> list[Entry]:
        """The next committed entries that are synced here, as many as one application may take.

        Nothing is applied that this disk does not have: after a crash the state machine is never ahead of the journal.
        """
        first = self._to_apply[0]
        last = min(self._to_apply[-1], self._journal.durable_index, first + APPLY_BATCH_ENTRIES - 1)
        return self._journal.entries(first, last + 1, APPLY_BATCH_BYTES)
