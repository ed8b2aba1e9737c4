"""What callers of this node, and followers that forward to it, want in the log, and what became of it.

Each proposal has an id of its own (fault 13 of pysyncobj): by it the node that a caller waits at finds the outcome when
the entry is applied there, whoever put it into the log. Only this node's own callers have a row here; a forwarded
proposal is the concern of the node that forwarded it.

Rules of this file:
- A verdict is given once: applied, refused (it did nothing), or undecided (it may yet happen).
- What was handed to the log or to a leader of an older term is undecided as soon as the term moves on: its caller asks
  again with the same idempotency key instead of waiting for a deadline.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from tallystick.errors import Reason
from tallystick.peer.v1.peer_pb2 import MemberChange
from tallystick_node.consensus.settings import (
    MAX_ENTRY_PROPOSALS,
    MAX_PENDING_BYTES,
    MAX_PENDING_PROPOSALS,
)

_OVERHEAD_BYTES = 32
"""Of a proposal in an entry: its id and the lengths."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A command on its way into the log.

    Attributes:
        id: 16 bytes, unique for each attempt.
        command: what is to be applied; empty changes nothing.
        peer_id: the follower that forwarded it, or None for a caller of this node.
        change: a change of the members, in place of a command.
    """

    id: bytes
    command: bytes
    peer_id: str | None = None
    change: MemberChange | None = None

    @property
    def size_bytes(self) -> int:
        """What it takes in an entry."""
        return len(self.command) + _OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Applied(Generic[Result]):
    """Decided and applied on this node."""

    result: Result


@dataclass(frozen=True, slots=True)
class Refused:
    """It did not get into the log and never will."""

    reason: Reason


class Undecided(enum.Enum):
    """It may have got into the log, or may yet."""

    UNDECIDED = enum.auto()


@dataclass(slots=True)
class _Own:
    """A proposal that a caller of this node waits for."""

    size_bytes: int
    sent_in_term: int | None = None
    """The term in which it went to the log or to the leader; None while it is still queued here."""


class Proposals:
    """The queue into the log, and the callers behind it."""

    def __init__(self, max_entry_bytes: int) -> None:
        self._max_entry_bytes = max_entry_bytes
        self._queue: deque[Proposal] = deque()
        self._own: dict[bytes, _Own] = {}
        self._own_bytes = 0
        self._queued_bytes = 0
        self._abandoned = 0
        """Queued proposals whose caller has gone: passed over when their turn comes, swept when they are many."""

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def queued_bytes(self) -> int:
        """Size of what is queued."""
        return self._queued_bytes

    @property
    def has_callers(self) -> bool:
        """Whether a caller of this node waits for anything."""
        return bool(self._own)

    def admit(self, proposal: Proposal) -> bool:
        """Queues a proposal; False when there is no room."""
        size_bytes = proposal.size_bytes
        waiting = len(self._own) + len(self._queue)
        if waiting >= MAX_PENDING_PROPOSALS or self._own_bytes + self._queued_bytes + size_bytes > MAX_PENDING_BYTES:
            return False
        if proposal.peer_id is None:
            self._own[proposal.id] = _Own(size_bytes)
            self._own_bytes += size_bytes
        self._push(proposal)
        return True

    def take_batch(self, term: int) -> list[Proposal]:
        """As many as fit into one entry; they count as sent in this term. A change of the members comes alone."""
        batch: list[Proposal] = []
        size_bytes = 0
        while self._queue and len(batch) < MAX_ENTRY_PROPOSALS:
            size_bytes += self._queue[0].size_bytes
            is_alone = self._queue[0].change is not None or (batch and batch[-1].change is not None)
            if batch and (is_alone or size_bytes > self._max_entry_bytes):
                break
            proposal = self._pop()
            if proposal.peer_id is None and proposal.id not in self._own:
                size_bytes -= proposal.size_bytes
                self._abandoned -= 1
            else:
                batch.append(proposal)
        self._mark_sent(batch, term)
        return batch

    def put_back(self, batch: Iterable[Proposal]) -> None:
        """What was taken did not get into the log: it is queued again, in its order."""
        for proposal in reversed(list(batch)):
            own = self._own.get(proposal.id)
            if own is not None:
                own.sent_in_term = None
            self._queue.appendleft(proposal)
            self._queued_bytes += proposal.size_bytes

    def take_foreign(self) -> list[Proposal]:
        """Takes out what followers forwarded and what is not in the log, because this node no longer leads."""
        foreign = [proposal for proposal in self._queue if proposal.peer_id is not None]
        if foreign:
            self._keep_queued(proposal for proposal in self._queue if proposal.peer_id is None)
        return foreign

    def is_queued(self, proposal_id: bytes) -> bool:
        """Whether a caller's proposal has not left this node's memory: giving up now means that nothing happened."""
        own = self._own.get(proposal_id)
        return own is not None and own.sent_in_term is None

    def forget(self, proposal_id: bytes) -> None:
        """Its caller waits no longer, or has its verdict."""
        own = self._own.pop(proposal_id, None)
        if own is None:
            return
        self._own_bytes -= own.size_bytes
        if own.sent_in_term is None:
            self._abandoned += 1
            if 2 * self._abandoned > len(self._queue):
                self._keep_queued(queued for queued in self._queue if queued.peer_id or queued.id in self._own)
                self._abandoned = 0

    def is_own(self, proposal_id: bytes) -> bool:
        """Whether a caller of this node waits for it."""
        return proposal_id in self._own

    def sent_before(self, term: int) -> list[bytes]:
        """Own proposals that went out in an older term."""
        return [
            proposal_id
            for proposal_id, own in self._own.items()
            if own.sent_in_term is not None and own.sent_in_term < term
        ]

    def sent(self) -> list[bytes]:
        """Own proposals that went to the log or to a leader."""
        return [proposal_id for proposal_id, own in self._own.items() if own.sent_in_term is not None]

    def _keep_queued(self, kept: Iterable[Proposal]) -> None:
        self._queue = deque(kept)
        self._queued_bytes = sum(proposal.size_bytes for proposal in self._queue)

    def _mark_sent(self, batch: Iterable[Proposal], term: int) -> None:
        for proposal in batch:
            own = self._own.get(proposal.id)
            if own is not None:
                own.sent_in_term = term

    def _push(self, proposal: Proposal) -> None:
        self._queue.append(proposal)
        self._queued_bytes += proposal.size_bytes

    def _pop(self) -> Proposal:
        proposal = self._queue.popleft()
        self._queued_bytes -= proposal.size_bytes
        return proposal
