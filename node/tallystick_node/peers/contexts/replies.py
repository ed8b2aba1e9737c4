"""What is to be answered on an incoming stream: acks and questions, joined until the stream takes them.

Rules of this file:
- Acks are cumulative: the newest of a document stands for all before it. So is a question: the newest state vector.
- What waits is bounded by the documents that the peer has pushed or was asked for.
"""

from __future__ import annotations

import asyncio

from tallystick.peer.v1 import peer_pb2
from tallystick_node.contexts.ids import ContextId
from tallystick_node.peers.contexts.limits import CONTEXT_FRAME_ITEMS, OWED_DOCUMENTS


class Replies:
    """See the module."""

    def __init__(self) -> None:
        self._acks: dict[ContextId, int] = {}
        self._behind: dict[ContextId, bytes] = {}
        self._filled = asyncio.Event()

    def ack(self, context_id: ContextId, number: int) -> None:
        """All that the peer pushed of this document up to `number` is on this node's disk."""
        if context_id in self._acks or len(self._acks) < OWED_DOCUMENTS:
            self._acks[context_id] = number
            self._filled.set()

    def behind(self, context_id: ContextId, state_vector: bytes) -> None:
        """What follows this state vector is wanted."""
        if context_id in self._behind or len(self._behind) < OWED_DOCUMENTS:
            self._behind[context_id] = state_vector
            self._filled.set()

    async def take(self) -> peer_pb2.ContextReply:
        """Waits for something to answer; what goes into one reply."""
        while not self._acks and not self._behind:
            self._filled.clear()
            await self._filled.wait()
        reply = peer_pb2.ContextReply()
        for context_id in list(self._acks)[:CONTEXT_FRAME_ITEMS]:
            reply.acks.add(id=context_id.to_proto(), number=self._acks.pop(context_id))
        for context_id in list(self._behind)[:CONTEXT_FRAME_ITEMS]:
            reply.behind.add(id=context_id.to_proto(), state_vector=self._behind.pop(context_id))
        return reply
