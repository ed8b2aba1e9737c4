"""The outgoing stream of edits to one peer: dial, be accepted, send; hear what it has and what it lacks.

Rules of this file:
- A connection of its own: nothing of it ever stands before a message of Raft.
- It is dialled on and on, as `peers.link` does. Refusals are logged by that one; here the last reason is kept.
- One task writes: a frame of edits and offers, with a part of a diff, then the next.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import grpc

from tallystick.peer.v1.peer_pb2 import ContextFrame, ContextReply
from tallystick_node.contexts.ids import ContextId
from tallystick_node.host import Host
from tallystick_node.peers.backoff import BACKOFF_MAX_S, Backoff
from tallystick_node.peers.cancelling import raise_if_cancelled
from tallystick_node.peers.contexts.diffs import Diffs
from tallystick_node.peers.contexts.outbox import Outbox
from tallystick_node.peers.contexts.seams import Documents, Here
from tallystick_node.peers.identity import LocalNode, to_metadata
from tallystick_node.peers.limits import HANDSHAKE_S
from tallystick_node.peers.options import CONTEXT_LINK_METHOD, PEER_SERVICE
from tallystick_node.peers.refusals import describe

_log: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class ContextLinkCounters:
    """Of the outgoing stream to one peer."""

    connects: int = 0
    frames: int = 0
    pushes: int = 0
    size_bytes: int = 0
    acks: int = 0
    behind: int = 0
    wrong_acks: int = 0
    """Of what was not sent."""


@dataclass(frozen=True, slots=True)
class Around:
    """What the links of a node share.

    Attributes:
        epoch_of: the epoch of a document as this node's log has it; 0: there is no such document.
        seal_of: the seal that it is under; 0: none.
        worker_of: which worker holds the documents, as a number that rises: another one may hold less.
        begin: the worker does not know a document as it is decided: it is told, before anything else is asked of it.
    """

    local: LocalNode
    documents: Documents
    here: Here
    epoch_of: Callable[[bytes], int]
    seal_of: Callable[[bytes], int]
    worker_of: Callable[[], int]
    begin: Callable[[bytes], None]
    host: Host


class ContextLink:
    """The stream from this node to one peer. `run` holds it.

    Attributes:
        counters: what was counted.
        last_failure: why the last stream ended, or was not accepted.
    """

    def __init__(self, around: Around, peer_id: str, outbox: Outbox) -> None:
        self.peer_id: Final = peer_id
        self.counters: Final = ContextLinkCounters()
        self.last_failure = ""
        self._around = around
        self._outbox = outbox
        self._backoff = Backoff(random.Random(around.host.random_bytes(16)))
        self._connected = False

    @property
    def is_connected(self) -> bool:
        """Whether the peer has accepted the stream, as far as we have heard."""
        return self._connected

    async def run(self, channel: grpc.aio.Channel) -> None:
        """Hold the stream until cancelled."""
        while True:
            why = await self._dial(channel)
            raise_if_cancelled()
            if why != self.last_failure:
                self.last_failure = why
                extra = {"event": "context_link_down", "peer_id": self.peer_id, "why": why}
                _log.info("no stream of edits to a peer", extra=extra)
            await asyncio.sleep(self._backoff.next_s())

    async def _dial(self, channel: grpc.aio.Channel) -> str:
        method: grpc.aio.StreamStreamMultiCallable[ContextFrame, ContextReply] = channel.stream_stream(
            f"/{PEER_SERVICE}/{CONTEXT_LINK_METHOD}", ContextFrame.SerializeToString, ContextReply.FromString
        )
        call = method(None, metadata=to_metadata(self._around.local), wait_for_ready=False)
        try:
            refused = await self._greet(call)
            return await self._hold(call) if refused is None else refused
        finally:
            call.cancel()

    async def _greet(self, call: grpc.aio.StreamStreamCall[ContextFrame, ContextReply]) -> str | None:
        """Wait to be accepted; why we were not."""
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                reply = await call.read()
        except TimeoutError:
            return f"no answer within {HANDSHAKE_S} s"
        except grpc.aio.AioRpcError as error:
            return describe(error)
        if not isinstance(reply, ContextReply):
            return "the stream ended before it was accepted"
        if reply.node_id != self.peer_id:
            return f"there is node {reply.node_id}, not {self.peer_id}"
        return None

    async def _hold(self, call: grpc.aio.StreamStreamCall[ContextFrame, ContextReply]) -> str:
        """Be connected while the stream holds; why it ended."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        diffs = Diffs(self._around.documents, self._around.epoch_of, self._outbox)
        self._connect()
        tasks = [
            asyncio.create_task(until) for until in (self._read(call, diffs), self._write(call, diffs), diffs.run())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            reasons = [task.result() for task in tasks if task in done]  # of all, so that no error of ours is lost
            return reasons[0]
        finally:
            self._connected = False
            self._outbox.close()
            for task in tasks:
                task.cancel()
            # A stream that breaks as soon as it stands must not be dialled in a tight loop.
            if loop.time() - began_s > BACKOFF_MAX_S:
                self._backoff.reset()
            await asyncio.wait(tasks)

    def _connect(self) -> None:
        self._connected = True
        self.last_failure = ""
        self.counters.connects += 1
        epoch_of = self._around.epoch_of
        self._outbox.open(lambda document: epoch_of(document.guid) == document.epoch)
        for guid, states in self._around.here.local_states():
            self._outbox.tell(guid, states)

    async def _read(self, call: grpc.aio.StreamStreamCall[ContextFrame, ContextReply], diffs: Diffs) -> str:
        while True:
            try:
                reply = await call.read()
            except grpc.aio.AioRpcError as error:
                return describe(error)
            if not isinstance(reply, ContextReply):
                return "the peer ended the stream"
            for ack in reply.acks:
                self._acked(ContextId.of(ack.id), ack.number, ack.whole)
            self.counters.behind += len(reply.behind)
            diffs.want(reply.behind)

    def _acked(self, document: ContextId, number: int, whole: int) -> None:
        acknowledged = self._outbox.acked(document, number, whole)
        if acknowledged is None:
            self.counters.wrong_acks += 1
            return
        self.counters.acks += 1
        if acknowledged:
            self._around.documents.note_ack(self.peer_id, document, acknowledged, min(whole, acknowledged))

    async def _write(self, call: grpc.aio.StreamStreamCall[ContextFrame, ContextReply], diffs: Diffs) -> str:
        while True:
            await self._outbox.wait()
            frame = self._outbox.take_frame()
            part = diffs.take_part()
            if part is not None:
                frame.diffs.append(part)
            if diffs.has_parts:
                self._outbox.wake()
            if not (frame.pushes or frame.diffs or frame.presences):
                continue
            try:
                await call.write(frame)
            except grpc.aio.AioRpcError as error:
                return describe(error)
            except asyncio.InvalidStateError:  # gRPC's word for: the call has ended meanwhile
                return "the stream has ended"
            self.counters.frames += 1
            self.counters.pushes += len(frame.pushes)
            self.counters.size_bytes += frame.ByteSize()
