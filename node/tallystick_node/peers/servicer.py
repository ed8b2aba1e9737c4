"""The incoming side: admits streams of other nodes and hands their messages on.

Rules of this file:
- A peer has one stream. A newer one (a higher incarnation, or the same and later) supersedes it; frames that the
  older one still brings are not handed on.
- Which process of a peer is believed is `processes.py`'s.
- After `update` nothing more is handed on of a node that is no member.
- A frame that breaks the rules ends its stream, and none of its messages is handed on.
- Memory per stream: one frame, and what gRPC's flow control lets in behind it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection
from typing import Final

import grpc

from tallystick.log.v1 import log_pb2
from tallystick.peer.v1.peer_pb2 import LinkStatus
from tallystick_node.consensus.transport import Receiver
from tallystick_node.peers.admission import Admission, name_given
from tallystick_node.peers.counters import IncomingCounters, Refusal
from tallystick_node.peers.frames import BadFrameError, FrameTooLargeError, split_frame
from tallystick_node.peers.identity import Caller, LocalNode
from tallystick_node.peers.options import LINK_METHOD, PEER_SERVICE
from tallystick_node.peers.processes import Processes
from tallystick_node.peers.refusals import Refused
from tallystick_node.peers.streams import Stream, Streams

_log: Final = logging.getLogger(__name__)


class PeerServicer:
    """`PeerService.Link` of this node.

    Attributes:
        admission: who may talk to this node; also for what else is served to peers.
        processes: which process of each peer is believed; the same.

    Args:
        local: this node.
        member_ids: the ids of the cluster's nodes; this node's own may be among them.
        receiver: gets the messages, on the event loop.
        require_certificate: whether links run over TLS, so that a caller's certificate must name its node.
        members: as this node knows them, for who dials.
    """

    def __init__(
        self,
        local: LocalNode,
        member_ids: Collection[str],
        receiver: Receiver,
        *,
        require_certificate: bool,
        members: Callable[[], log_pb2.Members] = log_pb2.Members,
    ) -> None:
        self._local = local
        self._receiver = receiver
        self._members = members
        self.admission: Final = Admission(local, member_ids, require_certificate=require_certificate)
        self.processes: Final = Processes()
        self._streams: Streams[Stream] = Streams(self.admission, self.processes)
        self._last_logged: tuple[str, Refusal] | None = None
        self.counters = IncomingCounters()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve on this server, which should have `SERVER_OPTIONS`.

        Frames come in as bytes: their size is checked before they are parsed.
        """
        handler = grpc.stream_stream_rpc_method_handler(
            self._link, request_deserializer=None, response_serializer=LinkStatus.SerializeToString
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(PEER_SERVICE, {LINK_METHOD: handler}),))

    def update(self, member_ids: Collection[str], *, unseen: bool = False) -> None:
        """The members are these from now on: the streams of others are ended, and what was known of them forgotten.

        Args:
            member_ids: all of them; this node's own may be among them.
            unseen: there may have been others between the last ones and these, as where a snapshot was installed. Then
                a member may have been removed and added again, so whichever process of it comes is believed.
        """
        self.admission.update(member_ids)
        if unseen:
            self.processes.forget_all()
        self.processes.keep(member_ids)
        self._streams.update()

    def close(self) -> None:
        """End all streams and take no more."""
        self._streams.close()

    async def _link(self, frames: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, LinkStatus]) -> None:
        admitted = self._admit(self._streams.check(context))
        if isinstance(admitted, Refused):
            self._log_refused(name_given(context), admitted)
            await admitted.abort(context)
        try:
            await context.write(LinkStatus(node_id=self._local.node_id, members=self._members()))
            refused = await self._serve(admitted, frames)
        finally:
            self._streams.remove(admitted)
        if refused is not None:
            self._log_refused(admitted.caller.node_id, refused)
            await refused.abort(context)

    def _admit(self, checked: Caller | Refused) -> Stream | Refused:
        """Make this the stream of its node."""
        if isinstance(checked, Refused):
            return checked
        stream = Stream(checked)
        self._streams.add(stream)
        self.counters.accepted += 1
        self._last_logged = None
        return stream

    async def _serve(self, stream: Stream, frames: AsyncIterator[bytes]) -> Refused | None:
        """Hand messages on until the peer or we end the stream."""
        reading = asyncio.create_task(self._read(stream, frames))
        try:
            await asyncio.wait({reading, stream.ended}, return_when=asyncio.FIRST_COMPLETED)
            return stream.ended.result() if stream.ended.done() else reading.result()
        finally:
            if not reading.done():
                reading.cancel()
                await asyncio.wait({reading})

    async def _read(self, stream: Stream, frames: AsyncIterator[bytes]) -> Refused | None:
        peer_id = stream.caller.node_id
        async for data in frames:
            if stream.ended.done():
                return None
            try:
                messages = split_frame(data)
            except FrameTooLargeError as error:
                return Refused(Refusal.FRAME_TOO_LARGE, f"Node {peer_id} sent {error}.")
            except BadFrameError as error:
                return Refused(Refusal.BAD_FRAME, f"Node {peer_id} broke the rules of a frame: {error}.")
            self.counters.frames += 1
            self.counters.messages += len(messages)
            for message in messages:
                self._receiver.receive(peer_id, message)
        return None

    def _log_refused(self, node_id: str, refused: Refused) -> None:
        """Count it; log it unless the line would repeat the last one, for a refused peer dials again every second."""
        self.counters.refused[refused.refusal] += 1
        this = (node_id, refused.refusal)
        if this != self._last_logged and refused.refusal is not Refusal.STOPPING:
            self._last_logged = this
            extra = {
                "event": "peer_refused",
                "peer_id": this[0],
                "refusal": refused.refusal.value,
                "why": refused.sentence,
            }
            _log.warning("refused the stream of a peer", extra=extra)
