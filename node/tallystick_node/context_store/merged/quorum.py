"""Awaits, for one stream, that a majority has its client's updates.

Rules of this file:
- What waits is bounded: beyond `WAITING_ACKS` updates are acknowledged together, with the newest of them.
- A document that moves to a new epoch takes along what waits: the new epoch began with it, and what this node had
  carried over has a number there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from tallystick.v1 import context_pb2
from tallystick_node.context_store.merged.limits import WAITING_ACKS
from tallystick_node.context_store.merged.outbox import Outbox
from tallystick_node.contexts.hub.hub import Hub
from tallystick_node.contexts.ids import ContextId


class _Waiting(NamedTuple):
    number: int
    document: ContextId
    cursor: context_pb2.Cursor


class Quorum:
    """See the module."""

    def __init__(self, hub: Hub, outbox: Outbox) -> None:
        self._hub = hub
        self._outbox = outbox
        self._waiting: deque[_Waiting] = deque()
        self._added = asyncio.Event()
        self._reaching: asyncio.Task[None] | None = None

    def add(self, number: int, document: ContextId, cursor: context_pb2.Cursor) -> None:
        """The client's update `number`, and all before it, are on this node's disk under `cursor.number`."""
        if len(self._waiting) >= WAITING_ACKS:
            self._waiting.pop()
        self._waiting.append(_Waiting(number, document, cursor))
        self._added.set()

    def moved(self, document: ContextId, number: int, log: bytes) -> None:
        """All of it is in the new epoch, under this number of this node's log at the latest."""
        if self._reaching is not None:
            self._reaching.cancel()
        if self._waiting:
            last = self._waiting[-1]
            cursor = context_pb2.Cursor(
                guid=document.guid, epoch=document.epoch, node_id=self._hub.node_id, number=number, log=log
            )
            self._waiting = deque([_Waiting(last.number, document, cursor)])

    async def run(self) -> None:
        """Until it is cancelled. Raises NotFound: the document was deleted."""
        while True:
            while not self._waiting:
                self._added.clear()
                await self._added.wait()
            first = self._waiting[0]
            reaching = self._hub.reached_quorum(first.document, first.cursor.number, first.cursor.log)
            self._reaching = asyncio.create_task(reaching)
            try:
                await asyncio.wait((self._reaching,))
            finally:
                self._reaching.cancel()
            if not self._reaching.cancelled():  # else the document has moved: what waits is another
                self._reaching.result()
                self._say(first)

    def _say(self, first: _Waiting) -> None:
        reached = self._hub.acks.quorum(first.document)
        said = first
        while self._waiting and self._waiting[0].number >= first.number:
            waiting = self._waiting[0]
            if waiting is not first and (waiting.document != first.document or waiting.cursor.number > reached):
                break
            said = self._waiting.popleft()
        self._outbox.ack(said.number, context_pb2.ACK_LEVEL_QUORUM, said.cursor)
