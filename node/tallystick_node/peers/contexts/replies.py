"""What is to be answered on an incoming stream: acks and questions, joined until the stream takes them.

Rules of this file:
- Acks are cumulative: the newest of a document stands for all before it. So is a question: the newest state vector.
  What was pushed and what was offered are told apart, under whatever number.
- A peer that does not read what is answered does not push for ever: with too much waiting, its stream is ended.
"""

from __future__ import annotations

import asyncio

from tallystick.peer.v1 import peer_pb2
from tallystick_node.contexts.ids import ContextId
from tallystick_node.peers.contexts.limits import (
    CONTEXT_FRAME_BYTES,
    CONTEXT_FRAME_ITEMS,
    CONTEXT_QUEUE_BYTES,
    OWED_DOCUMENTS,
)
from tallystick_node.peers.contexts.owed import TooMuchOwedError


class Replies:
    """See the module."""

    def __init__(self) -> None:
        self._acks: dict[ContextId, tuple[int, int]] = {}
        self._behind: dict[ContextId, bytes] = {}
        self._size_bytes = 0
        self._filled = asyncio.Event()

    def ack(self, document: ContextId, number: int, whole: int = 0) -> None:
        """All that the peer pushed of this document up to `number` is on this disk, and all of its log up to `whole`.

        Raises:
            TooMuchOwedError: the peer does not read.
        """
        if document not in self._acks and len(self._acks) >= OWED_DOCUMENTS:
            raise TooMuchOwedError(f"acks of {OWED_DOCUMENTS} documents are not read")
        last, last_whole = self._acks.get(document, (0, 0))
        self._acks[document] = number, max(whole, last_whole) if number >= last else whole  # else its log began anew
        self._filled.set()

    def behind(self, document: ContextId, state_vector: bytes) -> None:
        """What follows this state vector is wanted; dropped where too much waits, for it is asked again."""
        if document in self._behind or self._size_bytes + len(state_vector) <= CONTEXT_QUEUE_BYTES:
            self._size_bytes += len(state_vector) - len(self._behind.get(document, b""))
            self._behind[document] = state_vector
            self._filled.set()

    async def take(self) -> peer_pb2.ContextReply:
        """Waits for something to answer; what goes into one reply."""
        while not self._acks and not self._behind:
            self._filled.clear()
            await self._filled.wait()
        reply = peer_pb2.ContextReply()
        for document in list(self._acks)[:CONTEXT_FRAME_ITEMS]:
            number, whole = self._acks.pop(document)
            reply.acks.add(id=document.to_proto(), number=number, whole=whole)
        room_bytes = CONTEXT_FRAME_BYTES
        for document in list(self._behind)[:CONTEXT_FRAME_ITEMS]:
            state_vector = self._behind.pop(document)
            self._size_bytes -= len(state_vector)
            room_bytes -= len(state_vector)
            reply.behind.add(id=document.to_proto(), state_vector=state_vector)
            if room_bytes <= 0:
                break
        return reply
