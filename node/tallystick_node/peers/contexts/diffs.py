"""Answers a peer's `behind`: what follows its state vector, in parts.

Rules of this file:
- `DIFFS_AT_ONCE` at a time, each in parts that the stream takes one after another: a slow peer costs a few parts.
- A document has one diff under way; asked for again meanwhile, another one follows.
- Only of the epoch that this node has by its own log: who is in another one is told nothing, and asks again.
- One that fails midway is given up with an empty last part, so that the peer asks again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from tallystick.errors import TallystickError
from tallystick.peer.v1 import peer_pb2
from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.ids import ContextId
from tallystick_node.peers.contexts.limits import DIFF_EDITS_BYTES, DIFFS_AT_ONCE, DIFFS_WANTED, PARTS_QUEUED
from tallystick_node.peers.contexts.outbox import Outbox
from tallystick_node.peers.contexts.seams import Documents

_log: Final = logging.getLogger(__name__)


class Diffs:
    """See the module; of one link. `run` makes them, the link sends what `take_part` gives.

    Attributes:
        made: how many were sent whole.
        given_up: how many were not.
    """

    def __init__(self, documents: Documents, epoch_of: Callable[[bytes], int], outbox: Outbox) -> None:
        self._documents = documents
        self._epoch_of = epoch_of
        self._outbox = outbox
        self._wanted: dict[ContextId, bytes] = {}
        self._under_way: set[ContextId] = set()
        self._asked = asyncio.Event()
        self._parts: asyncio.Queue[peer_pb2.ContextDiff] = asyncio.Queue(PARTS_QUEUED)
        self.made = 0
        self.given_up = 0

    def want(self, behind: Iterable[peer_pb2.ContextBehind]) -> None:
        """The peer wants these."""
        for wanted in behind:
            document = ContextId.of(wanted.id)
            if document in self._wanted or len(self._wanted) < DIFFS_WANTED:
                self._wanted[document] = wanted.state_vector
        self._asked.set()

    def take_part(self) -> peer_pb2.ContextDiff | None:
        """The next part, if there is one."""
        return None if self._parts.empty() else self._parts.get_nowait()

    @property
    def has_parts(self) -> bool:
        """Whether there is a part to take."""
        return not self._parts.empty()

    async def run(self) -> str:
        """Makes what is wanted until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(DIFFS_AT_ONCE):
                group.create_task(self._make_them())
        raise AssertionError("diffs are made until cancelled")

    async def _make_them(self) -> None:
        while True:
            document = next((wanted for wanted in self._wanted if wanted not in self._under_way), None)
            if document is None:
                self._asked.clear()
                await self._asked.wait()
                continue
            state_vector = self._wanted.pop(document)
            self._under_way.add(document)
            try:
                await self._make(document, state_vector)
            finally:
                self._under_way.discard(document)
                self._asked.set()

    async def _make(self, document: ContextId, state_vector: bytes) -> None:
        if self._epoch_of(document.guid) != document.epoch:
            return
        diff = worker_pb2.Diff(id=document.to_proto(), state_vector=state_vector, with_edits=True)
        try:
            response = await self._documents.ask(document.guid, worker_pb2.Request(diff=diff))
            await self._send(document, response.data)
        except TallystickError as error:
            extra = {"event": "context_diff_given_up", "guid": document.guid.hex(), "why": str(error)}
            _log.info("gave up a diff for a peer", extra=extra)
            self.given_up += 1
            await self._put(peer_pb2.ContextDiff(id=document.to_proto(), is_last=True))

    async def _send(self, document: ContextId, head: worker_pb2.Data) -> None:
        data, offset = head.data, len(head.data)
        while offset < head.size_bytes:
            await self._put(peer_pb2.ContextDiff(id=document.to_proto(), data=data))
            part = worker_pb2.Part(handle=head.handle, offset=offset)
            response = await self._documents.ask(document.guid, worker_pb2.Request(part=part))
            data = response.data.data
            offset += len(data)
        self._outbox.sends(document, head.cursor.number, head.cursor.log)
        last = peer_pb2.ContextDiff(
            id=document.to_proto(), number=head.cursor.number, data=data, is_last=True,
            edits=_newest(head.edits), log=head.cursor.log,
        )  # fmt: skip
        await self._put(last)
        self.made += 1

    async def _put(self, part: peer_pb2.ContextDiff) -> None:
        await self._parts.put(part)
        self._outbox.wake()


def _newest(edits: Iterable[context_pb2.Edit]) -> list[context_pb2.Edit]:
    """The newest that fit, in their order."""
    kept, size_bytes = [], 0
    for edit in reversed(list(edits)):
        size_bytes += edit.ByteSize()
        if size_bytes > DIFF_EDITS_BYTES:
            break
        kept.append(edit)
    return kept[::-1]
