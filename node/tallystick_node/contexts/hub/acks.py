"""How far other nodes have this node's update logs on their disks: what a majority has is at `quorum`.

Rules of this file:
- A majority is one of the voters of this moment. This node counts if it is a voter; a learner never does.
- Numbers are those of this node's update log of a document, and cumulative: who has 7 has 6. A log that begins anew
  (its document was damaged and fetched again) has no acks.
- A peer says how far it has what was pushed, and how far the whole log. What a client sends that was known here already
  may have come from a peer, and was never pushed from here: only an ack of the whole log up to there stands for it.
- The table is bounded: documents at quorum go first. What was dropped is learnt again from the acks to an offer
  (`Hub.reached_quorum`).
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Final

from tallystick.errors import NotFound, Reason
from tallystick_node.contexts.ids import ContextId

ACKED_DOCUMENTS: Final = 10_000
"""Documents whose acks are held."""


class _Log:
    """One update log, and who has how much of it."""

    __slots__ = ("newest", "offered", "pushed", "waiting", "whole")

    def __init__(self) -> None:
        self.newest = 0
        self.offered = 0
        """Up to here some of it was never pushed."""
        self.pushed: dict[str, int] = {}
        self.whole: dict[str, int] = {}
        self.waiting: list[tuple[int, int, asyncio.Future[int]]] = []

    def begin_anew(self) -> None:
        self.offered = 0
        self.pushed.clear()
        self.whole.clear()

    def of(self, peer_id: str) -> int:
        """How far a peer has it."""
        whole = self.whole.get(peer_id, 0)
        return max(whole, self.pushed.get(peer_id, 0)) if whole >= self.offered else whole


class Acks:
    """See the module.

    Args:
        node_id: this node.
        voters: those of this moment.
    """

    def __init__(self, node_id: str, voters: Callable[[], frozenset[str]]) -> None:
        self._node_id = node_id
        self._voters = voters
        self._logs: dict[ContextId, _Log] = {}
        self._waiters = 0

    def __len__(self) -> int:
        return len(self._logs)

    def pending(self) -> list[tuple[ContextId, int]]:
        """Documents that are not at quorum as a whole, with the newest number: to be offered to who comes back."""
        return [(document, log.newest) for document, log in self._logs.items() if self._quorum(log) < log.newest]

    def merged(self, document: ContextId, number: int, *, is_novel: bool = True) -> None:
        """An edit of this node's clients has this number, synced here."""
        log = self._log(document)
        if number < log.newest or (is_novel and number == log.newest):
            log.begin_anew()  # what was acknowledged was another's
        if not is_novel:
            log.offered = number
        log.newest = number
        self._settle(log)

    def note(self, peer_id: str, document: ContextId, number: int, whole: int = 0) -> None:
        """A peer has on disk what this node pushed of a document up to `number`, and all of its log up to `whole`."""
        log = self._logs.get(document)
        if log is not None and number <= log.newest:
            log.pushed[peer_id] = max(log.pushed.get(peer_id, 0), number)
            log.whole[peer_id] = max(log.whole.get(peer_id, 0), min(whole, number))
            self._settle(log)

    def settle(self) -> None:
        """The voters may have changed."""
        for log in self._logs.values():
            self._settle(log)

    def moved(self, document: ContextId, number: int) -> None:
        """A document is in a new epoch, which began with what the old one had, decided. What this node had beyond that
        is in its new log up to `number` (0: nothing): who waits for the old one waits for that."""
        waiting = [
            waiter
            for old in [each for each in self._logs if each.guid == document.guid and each.epoch < document.epoch]
            for waiter in self._logs.pop(old).waiting
        ]
        log = self._log(document)
        log.newest = max(log.newest, number)
        for _, order, future in waiting:
            heapq.heappush(log.waiting, (number, order, future))
        self._settle(log)

    def quorum(self, document: ContextId) -> int:
        """The newest number that a majority has, as far as is known."""
        log = self._logs.get(document)
        return self._quorum(log) if log is not None else 0

    def knows(self, document: ContextId) -> bool:
        """Whether acks of this document are held."""
        return document in self._logs

    def forget(self, guid: bytes) -> None:
        """The document is gone: who waits hears it."""
        for document in [document for document in self._logs if document.guid == guid]:
            for _, _, future in self._logs.pop(document).waiting:
                if not future.done():
                    future.set_exception(NotFound("the context was deleted", reason=Reason.CONTEXT_NOT_FOUND))

    async def reached(self, document: ContextId, number: int) -> int:
        """Returns once the number is at quorum, with the number that is. Bound it with a timeout.

        Raises:
            NotFound: the document was deleted meanwhile.
        """
        log = self._log(document)
        log.newest = max(log.newest, number)
        quorum = self._quorum(log)
        if quorum >= number:
            return quorum
        self._waiters += 1
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        heapq.heappush(log.waiting, (number, self._waiters, future))
        try:
            return await future
        finally:
            if future.cancelled():
                log.waiting = [waiting for waiting in log.waiting if not waiting[2].done()]
                heapq.heapify(log.waiting)

    def _log(self, document: ContextId) -> _Log:
        log = self._logs.get(document)
        if log is None:
            if len(self._logs) >= ACKED_DOCUMENTS:
                self._drop()
            log = self._logs[document] = _Log()
        return log

    def _drop(self) -> None:
        """Makes room: the oldest of those at quorum, or else the oldest that nobody awaits."""
        idle = [document for document, log in self._logs.items() if not log.waiting]
        settled = (document for document in idle if self._quorum(self._logs[document]) >= self._logs[document].newest)
        dropped = next(settled, idle[0] if idle else None)
        if dropped is not None:
            del self._logs[dropped]

    def _quorum(self, log: _Log) -> int:
        voters = self._voters()
        numbers = sorted(log.newest if voter == self._node_id else log.of(voter) for voter in voters)
        return numbers[(len(numbers) - 1) // 2] if numbers else 0

    def _settle(self, log: _Log) -> None:
        if not log.waiting:
            return
        quorum = self._quorum(log)
        while log.waiting and log.waiting[0][0] <= quorum:
            _, _, future = heapq.heappop(log.waiting)
            if not future.done():
                future.set_result(quorum)
