"""What waits for one peer: edits in order, offers of documents, presence.

Rules of this file:
- Of each document the highest number that was pushed and not acknowledged is kept, also while there is no link. A new
  link begins with an offer of each: what was lost with the last one is asked for by the peer.
- Edits are never left out of the middle: where there is no room, all that wait are dropped, and their documents
  offered before anything newer.
- The first edit of a document goes as an offer, unless it is the first of its log: what came before it may never have
  been pushed to this peer (it, or this node, is new; an answer was lost with the worker), and an ack of an edit stands
  for all before it.
- An offer is answered by an ack of the whole log: one of what was pushed, under the same number, does not end it.
- The tables are bounded. What they cannot hold is found by comparing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tallystick.peer.v1 import peer_pb2
from tallystick.v1 import context_pb2
from tallystick_node.contexts.ids import ContextId
from tallystick_node.peers.contexts.limits import (
    CONTEXT_FRAME_BYTES,
    CONTEXT_FRAME_ITEMS,
    CONTEXT_QUEUE_BYTES,
    PRESENCES_QUEUED,
    PUSHED_UPDATE_BYTES,
    UNACKED_DOCUMENTS,
)


@dataclass(slots=True)
class _Unacked:
    """How far a document was sent and not acknowledged: `pushed` by edits (0: none), `sent` by diffs too, `offered` as
    a whole (0: not at all)."""

    pushed: int
    sent: int
    offered: int = 0
    log: bytes = b""


class Outbox:
    """See the module.

    Attributes:
        overflows: how often what waited was dropped.
    """

    def __init__(self, max_bytes: int = CONTEXT_QUEUE_BYTES, max_documents: int = UNACKED_DOCUMENTS) -> None:
        self._max_bytes = max_bytes
        self._max_documents = max_documents
        self._pushes: deque[tuple[peer_pb2.ContextPush, int]] = deque()
        self._size_bytes = 0
        self._offers: dict[ContextId, None] = {}
        self._unacked: dict[ContextId, _Unacked] = {}
        self._begun: dict[ContextId, None] = {}
        """Documents of which all before the next edit was pushed or offered."""
        self._presences: dict[tuple[bytes, int], context_pb2.PresenceState] = {}
        self._open = False
        self._filled = asyncio.Event()
        self.overflows = 0

    @property
    def unacked(self) -> int:
        """Documents of which not all is acknowledged."""
        return len(self._unacked)

    def open(self, is_wanted: Callable[[ContextId], bool] = lambda _document: True) -> None:
        """A new link: offers what was not acknowledged of the documents that still are."""
        self._open = True
        self._unacked = {document: unacked for document, unacked in self._unacked.items() if is_wanted(document)}
        for document in self._unacked:
            self._offer(document)
        self.wake()

    def close(self) -> None:
        """The link is gone, and what waited with it; it is offered to the next one."""
        self._open = False
        self._pushes.clear()
        self._size_bytes = 0
        self._offers.clear()
        self._presences.clear()

    def push(self, push: peer_pb2.ContextPush, size_bytes: int) -> None:
        """An edit, or an offer, with its size."""
        document = ContextId.of(push.id)
        if document not in self._unacked and len(self._unacked) >= self._max_documents:
            self._begun.pop(document, None)
            return  # to be found by comparing
        before = self._unacked.get(document)
        offered = before.offered if before is not None and before.sent <= push.number else 0
        self._unacked[document] = _Unacked(push.number, push.number, offered, push.log)
        is_begun = document in self._begun or push.number == 1
        self._begin(document)
        if not self._open:
            return
        if not is_begun or not push.update or len(push.update) > PUSHED_UPDATE_BYTES:
            self._offer(document)
        elif self._size_bytes + size_bytes > self._max_bytes:
            self._overflow()
            self._offer(document)
        else:
            self._pushes.append((push, size_bytes))
            self._size_bytes += size_bytes
        self.wake()

    def begin_anew(self) -> None:
        """An edit may have been merged here without being pushed: the next one of each document goes as an offer."""
        self._begun.clear()

    def sends(self, document: ContextId, number: int, log: bytes = b"") -> None:
        """A diff up to this number is on its way: its ack is awaited like that of an edit."""
        unacked = self._unacked.get(document)
        if unacked is not None:
            unacked.sent, unacked.log = max(unacked.sent, number), log
        elif len(self._unacked) < self._max_documents:
            self._unacked[document] = _Unacked(0, number, log=log)

    def acked(self, document: ContextId, number: int, whole: int = 0) -> int | None:
        """The peer has what was pushed of a document up to this number, and all of it up to `whole`: the newest edit
        that is acknowledged by it; 0, none waited for it; None, no ack of it was awaited."""
        unacked = self._unacked.get(document)
        if unacked is None or number > unacked.sent:
            return None
        if number == unacked.sent and whole >= unacked.offered:
            del self._unacked[document]
        return min(number, unacked.pushed)

    def tell(self, guid: bytes, states: Iterable[context_pb2.PresenceState]) -> None:
        """Presence that the peer is to hear of; the newest of each writer counts."""
        if not self._open:
            return
        for state in states:
            if len(self._presences) >= PRESENCES_QUEUED and (guid, state.writer) not in self._presences:
                return
            self._presences[guid, state.writer] = state
        self.wake()

    def forget(self, guid: bytes) -> None:
        """The document is gone, or its numbers begin anew."""
        for document in [document for document in self._unacked if document.guid == guid]:
            del self._unacked[document]
            self._offers.pop(document, None)
        for document in [document for document in self._begun if document.guid == guid]:
            del self._begun[document]

    def wake(self) -> None:
        """There is something for the link to look at."""
        self._filled.set()

    async def wait(self) -> None:
        """Returns once `wake` was called since the last time."""
        await self._filled.wait()
        self._filled.clear()

    def take_frame(self) -> peer_pb2.ContextFrame:
        """What goes into one frame, offers first; empty if nothing waits."""
        frame = peer_pb2.ContextFrame()
        room_bytes = self._take_pushes(frame)
        if self._presences and room_bytes > 0:
            self._take_presences(frame)
        if self._offers or self._pushes or self._presences:
            self.wake()
        return frame

    def _take_pushes(self, frame: peer_pb2.ContextFrame) -> int:
        room_bytes, room_items = CONTEXT_FRAME_BYTES, CONTEXT_FRAME_ITEMS
        while self._offers and room_items:
            document = next(iter(self._offers))
            del self._offers[document]
            unacked = self._unacked.get(document)
            if unacked is not None:
                unacked.offered = unacked.sent
                frame.pushes.add(id=document.to_proto(), number=unacked.sent, log=unacked.log)
                room_items -= 1
        while self._pushes and room_items and (self._pushes[0][1] <= room_bytes or not frame.pushes):
            push, size_bytes = self._pushes.popleft()
            self._size_bytes -= size_bytes
            frame.pushes.append(push)
            room_bytes -= size_bytes
            room_items -= 1
        return room_bytes

    def _take_presences(self, frame: peer_pb2.ContextFrame) -> None:
        by_guid: dict[bytes, peer_pb2.ContextPresence] = {}
        for guid, writer in list(self._presences)[:CONTEXT_FRAME_ITEMS]:
            if guid not in by_guid:
                by_guid[guid] = frame.presences.add(guid=guid)
            by_guid[guid].states.append(self._presences.pop((guid, writer)))

    def _offer(self, document: ContextId) -> None:
        self._offers[document] = None
        unacked = self._unacked.get(document)
        if unacked is not None:
            unacked.offered = unacked.sent

    def _begin(self, document: ContextId) -> None:
        self._begun.pop(document, None)  # those used last are last
        self._begun[document] = None
        if len(self._begun) > self._max_documents:
            del self._begun[next(iter(self._begun))]

    def _overflow(self) -> None:
        self.overflows += 1
        for push, _ in self._pushes:
            self._offer(ContextId.of(push.id))
        self._pushes.clear()
        self._size_bytes = 0
