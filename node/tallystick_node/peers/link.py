"""The outgoing link to one peer: dial, be accepted, send, and dial again.

Rules of this file:
- Connected means that the right node has accepted the stream. Only then are messages taken.
- The receiver hears of each change once and in order, from the link's task, never from inside `send`: consensus
  may be in the middle of its own step there. It hears that the link is gone also where `run` is cancelled.
- A peer that says that this node was removed is dialled on: a removal that was not decided may be undone.
- A message is handed to gRPC in the next iteration of the event loop, or joins the frame after the one being written.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

import grpc

from tallystick.log.v1 import log_pb2
from tallystick.peer.v1.peer_pb2 import LinkStatus, RaftMessage
from tallystick_node.consensus.transport import Receiver
from tallystick_node.host import Host, RealHost
from tallystick_node.peers.backoff import BACKOFF_MAX_S, Backoff
from tallystick_node.peers.cancelling import raise_if_cancelled
from tallystick_node.peers.channel import open_channel
from tallystick_node.peers.counters import LinkCounters, Refusal
from tallystick_node.peers.frames import MESSAGE_BYTES
from tallystick_node.peers.identity import LocalNode, to_metadata
from tallystick_node.peers.limits import HANDSHAKE_S
from tallystick_node.peers.options import LINK_METHOD, PEER_SERVICE
from tallystick_node.peers.refusals import describe, refusal_of
from tallystick_node.peers.send_queue import SendQueue
from tallystick_node.peers.tls import PeerCredentials

_log: Final = logging.getLogger(__name__)


class PeerLink:
    """The link from this node to one peer. `run` holds it; `send` may be called at any time on the same loop.

    Attributes:
        counters: what was counted; handed on to the link that replaces this one.
        is_removed: the peer, when last heard, said that this node is no longer a member.

    Args:
        queue: what is to be sent waits here; none: one of the usual size.
        counters: to be counted on; none: from 0.
        on_removed: called with the peer's id each time that it says so.
        on_members: called with the members that the peer knows, when it has accepted the link.
        host: what the link runs on; none: this machine.
    """

    def __init__(
        self,
        local: LocalNode,
        peer_id: str,
        endpoint: str,
        credentials: PeerCredentials | None,
        receiver: Receiver,
        queue: SendQueue | None = None,
        *,
        counters: LinkCounters | None = None,
        on_removed: Callable[[str], None] | None = None,
        on_members: Callable[[log_pb2.Members], None] | None = None,
        host: Host | None = None,
    ) -> None:
        self.peer_id: Final = peer_id
        self.endpoint: Final = endpoint
        self.counters: Final = counters or LinkCounters()
        self.is_removed = False
        self._local = local
        self._credentials = credentials
        self._receiver = receiver
        self._queue = queue or SendQueue()
        self._host: Host = host or RealHost()
        self._backoff = Backoff(random.Random(self._host.random_bytes(16)))
        self._connected = False
        self._last_failure = ""
        self._refusal: Refusal | None = None
        self._on_removed = on_removed
        self._on_members = on_members

    @property
    def is_connected(self) -> bool:
        """Whether the peer has accepted our stream, as far as we have heard."""
        return self._connected

    def send(self, message: RaftMessage) -> None:
        """Queue a message. Dropped while the link is down, and if it is larger than any frame."""
        if not self._queue.is_open:
            self.counters.dropped += 1
            return
        data = message.SerializeToString()
        if len(data) > MESSAGE_BYTES:
            self.counters.oversized += 1
            _log.error(
                "a message is too large to send",
                extra={"event": "message_too_large", "peer_id": self.peer_id, "size_bytes": len(data)},
            )
        elif not self._queue.put(data):
            self.counters.dropped += 1

    async def run(self) -> None:
        """Hold the link until cancelled."""
        channel = open_channel(self._host, self.peer_id, self.endpoint, self._credentials)
        try:
            while True:
                self._refusal = None
                why = await self._dial(channel)
                raise_if_cancelled()
                self._note_failure(why)
                await asyncio.sleep(self._backoff.next_s())
        finally:
            await channel.close(None)

    async def _dial(self, channel: grpc.aio.Channel) -> str:
        """Open a stream and keep it while it holds; why it ended, as a sentence."""
        # Frames are serialized before: see `join_messages`.
        method: grpc.aio.StreamStreamMultiCallable[bytes, LinkStatus] = channel.stream_stream(
            f"/{PEER_SERVICE}/{LINK_METHOD}", None, LinkStatus.FromString
        )
        call = method(None, metadata=to_metadata(self._local), wait_for_ready=False)
        try:
            refused = await self._greet(call)
            if refused is not None:
                self.counters.failed_dials += 1
                return refused
            return await self._hold(call)
        finally:
            call.cancel()

    async def _greet(self, call: grpc.aio.StreamStreamCall[bytes, LinkStatus]) -> str | None:
        """Wait to be accepted; why we were not."""
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                status = await call.read()
        except TimeoutError:
            return f"no answer within {HANDSHAKE_S} s"
        except grpc.aio.AioRpcError as error:
            return self._failed(error)
        if not isinstance(status, LinkStatus):
            return "the stream ended before it was accepted"
        if status.node_id != self.peer_id:
            return f"at {self.endpoint} is node {status.node_id}, not {self.peer_id}"
        if self._on_members is not None:
            self._on_members(status.members)
        return None

    async def _hold(self, call: grpc.aio.StreamStreamCall[bytes, LinkStatus]) -> str:
        """Be connected while the stream, the queue and the peer hold."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        self._connect()
        tasks = [
            asyncio.create_task(until) for until in (self._wait_end(call), self._wait_overflow(), self._write(call))
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            reasons = [task.result() for task in tasks if task in done]  # of all, so that no error of ours is lost
            return reasons[0]
        finally:
            self._queue.close()
            for task in tasks:
                task.cancel()
            try:
                await asyncio.wait(tasks)
            finally:  # we may be cancelled right here
                # A link that breaks as soon as it stands must not be dialled in a tight loop.
                if loop.time() - began_s > BACKOFF_MAX_S:
                    self._backoff.reset()
                self._disconnect()

    async def _wait_end(self, call: grpc.aio.StreamStreamCall[bytes, LinkStatus]) -> str:
        """Why the peer ended the stream; it sends nothing more after it has accepted."""
        try:
            more = await call.read()
        except grpc.aio.AioRpcError as error:
            return self._failed(error)
        return "the peer sent what it should not" if isinstance(more, LinkStatus) else "the peer ended the stream"

    async def _wait_overflow(self) -> str:
        await self._queue.wait_broken()
        self.counters.overflows += 1
        return "the peer did not take what waited for it"

    async def _write(self, call: grpc.aio.StreamStreamCall[bytes, LinkStatus]) -> str:
        while True:
            frame, message_count = await self._queue.take_frame()
            try:
                await call.write(frame)
            except grpc.aio.AioRpcError as error:
                return self._failed(error)
            except asyncio.InvalidStateError:  # gRPC's word for: the call has ended meanwhile
                return "the stream has ended"
            self.counters.frames += 1
            self.counters.messages += message_count
            self.counters.size_bytes += len(frame)

    def _connect(self) -> None:
        self._connected = True
        self.is_removed = False
        self._last_failure = ""
        self.counters.connects += 1
        self._queue.open()
        _log.info(
            "connected to a peer",
            extra={"event": "peer_connected", "peer_id": self.peer_id, "endpoint": self.endpoint},
        )
        self._receiver.peer_connected(self.peer_id)

    def _disconnect(self) -> None:
        self._connected = False
        self._receiver.peer_disconnected(self.peer_id)

    def _note_failure(self, why: str) -> None:
        """Log it, unless it says what the last one said: a peer that is down is dialled every second."""
        if self._refusal is Refusal.REMOVED:
            self.is_removed = True
            if self._on_removed is not None:
                self._on_removed(self.peer_id)
        if why != self._last_failure:
            self._last_failure = why
            extra = {"event": "peer_unreachable", "peer_id": self.peer_id, "endpoint": self.endpoint, "why": why}
            _log.warning("no link to a peer", extra=extra)

    def _failed(self, error: grpc.aio.AioRpcError) -> str:
        """Keep whether the peer refused us; why, as a sentence."""
        self._refusal = refusal_of(error) or self._refusal
        return describe(error)
