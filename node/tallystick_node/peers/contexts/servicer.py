"""The incoming side: admits streams of edits of other nodes, and answers how this node's documents compare.

Rules of this file:
- Who may push is who may open a link: the same admission, the same processes. Over TLS the certificate must name the
  node. Who is no member any more brings nothing further.
- A peer has one stream; a newer one supersedes it.
- A frame that breaks the rules ends its stream.
- Memory of a stream: one frame, what gRPC's flow control lets in behind it, and the tables of `owed` and `replies`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from tallystick.errors import TallystickError
from tallystick.peer.v1 import peer_pb2
from tallystick_node.contexts.comparing import Compare
from tallystick_node.contexts.ids import ContextId
from tallystick_node.peers.admission import Admission
from tallystick_node.peers.contexts.limits import COMPARED_PREFIXES, COMPARES_AT_ONCE
from tallystick_node.peers.contexts.owed import TooMuchOwedError
from tallystick_node.peers.contexts.receiver import Receiver, Taking
from tallystick_node.peers.contexts.replies import Replies
from tallystick_node.peers.counters import Refusal
from tallystick_node.peers.frames import BadFrameError
from tallystick_node.peers.identity import Caller, LocalNode
from tallystick_node.peers.options import COMPARE_METHOD, CONTEXT_LINK_METHOD, PEER_SERVICE
from tallystick_node.peers.processes import Processes
from tallystick_node.peers.refusals import Refused
from tallystick_node.peers.streams import Stream, Streams

_log: Final = logging.getLogger(__name__)

_LinkContext: TypeAlias = grpc.aio.ServicerContext[bytes, peer_pb2.ContextReply]
_CompareContext: TypeAlias = grpc.aio.ServicerContext[bytes, peer_pb2.CompareContextsReply]


class _Stream(Stream):
    """One accepted stream, and what it brings."""

    def __init__(self, caller: Caller, taking: Taking) -> None:
        super().__init__(caller)
        self.replies = Replies()
        self.receiver = Receiver(taking, caller.node_id, self.replies)


class ContextServicer:
    """`PeerService.ContextLink` and `CompareContexts` of this node.

    Attributes:
        refused: streams and questions that were refused or ended by us, by why.

    Args:
        local: this node.
        admission, processes: those of the links.
        taking: what is done with what comes.
        ours: this node's documents, to be compared.
    """

    def __init__(
        self, local: LocalNode, admission: Admission, processes: Processes, taking: Taking, ours: Compare
    ) -> None:
        self._local = local
        self._admission = admission
        self._taking = taking
        self._ours = ours
        self._streams: Streams[_Stream] = Streams(admission, processes)
        self._lives: dict[str, tuple[str, int]] = {}
        self._comparing = 0
        self.refused: Counter[Refusal] = Counter()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve on this server, beside the links."""
        link = grpc.stream_stream_rpc_method_handler(
            self._link, request_deserializer=None, response_serializer=peer_pb2.ContextReply.SerializeToString
        )
        compare = grpc.unary_unary_rpc_method_handler(
            self._compare,
            request_deserializer=None,
            response_serializer=peer_pb2.CompareContextsReply.SerializeToString,
        )
        handlers = {CONTEXT_LINK_METHOD: link, COMPARE_METHOD: compare}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(PEER_SERVICE, handlers),))

    def stream_of(self, peer_id: str) -> Receiver | None:
        """The stream of a peer, to ask on; None: there is none."""
        stream = self._streams.of(peer_id)
        return stream.receiver if stream is not None else None

    def decided(self, document: ContextId) -> None:
        """This node's log has come to this epoch of a document."""
        for stream in self._streams:
            stream.receiver.decided(document)

    def update(self) -> None:
        """The members changed: the streams of those who are none are ended, and what was known of them forgotten."""
        self._lives = {
            peer_id: life for peer_id, life in self._lives.items() if self._admission.check_member(peer_id) is None
        }
        self._streams.update()

    def close(self) -> None:
        """End all streams and take no more."""
        self._streams.close()

    # Streams.

    async def _link(self, frames: AsyncIterator[bytes], context: _LinkContext) -> None:
        admitted = self._admit(self._streams.check(context))
        if isinstance(admitted, Refused):
            self._note_refused(admitted)
            await admitted.abort(context)
        try:
            await context.write(peer_pb2.ContextReply(node_id=self._local.node_id))
            refused = await self._serve(admitted, frames, context)
        finally:
            self._streams.remove(admitted)
        if refused is not None:
            self._note_refused(refused)
            await refused.abort(context)

    def _admit(self, checked: Caller | Refused) -> _Stream | Refused:
        """Make this the stream of its node."""
        if isinstance(checked, Refused):
            return checked
        life = (checked.data_id, checked.incarnation)
        if self._lives.get(checked.node_id) != life:
            self._lives[checked.node_id] = life
            self._taking.coverage.forget_node(checked.node_id)
        stream = _Stream(checked, self._taking)
        self._streams.add(stream)
        for document in self._taking.coverage.wanted_of(checked.node_id):
            stream.receiver.ask(document)
        return stream

    async def _serve(self, stream: _Stream, frames: AsyncIterator[bytes], context: _LinkContext) -> Refused | None:
        """Take and answer until the peer or we end the stream."""
        reading = asyncio.create_task(self._read(stream, frames))
        tasks = [
            reading,
            asyncio.create_task(_answer(stream.replies, context)),
            asyncio.create_task(stream.receiver.run()),
        ]
        try:
            await asyncio.wait({*tasks, stream.ended}, return_when=asyncio.FIRST_COMPLETED)
            if stream.ended.done():
                return stream.ended.result()
            for task in tasks[1:]:
                if task.done():
                    task.result()  # what they raise is a mistake of ours
            return reading.result() if reading.done() else None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await stream.receiver.close()

    async def _read(self, stream: _Stream, frames: AsyncIterator[bytes]) -> Refused | None:
        peer_id = stream.caller.node_id
        async for data in frames:
            if stream.ended.done():
                return None
            try:
                frame = peer_pb2.ContextFrame.FromString(data)
                await stream.receiver.take(frame)
            except DecodeError:
                return Refused(Refusal.BAD_FRAME, f"Node {peer_id} sent what is no frame.")
            except BadFrameError as error:
                return Refused(Refusal.BAD_FRAME, f"Node {peer_id} broke the rules of a frame: {error}.")
            except TooMuchOwedError as error:
                return Refused(Refusal.OVERLOADED, f"Too much of node {peer_id} waits here: {error}.")
        return None

    # Comparing.

    async def _compare(self, data: bytes, context: _CompareContext) -> peer_pb2.CompareContextsReply:
        checked = self._streams.check(context)
        answer = checked if isinstance(checked, Refused) else await self._answer_compare(checked, data)
        if isinstance(answer, Refused):
            self._note_refused(answer)
            await answer.abort(context)
        return answer

    async def _answer_compare(self, caller: Caller, data: bytes) -> peer_pb2.CompareContextsReply | Refused:
        if self._comparing >= COMPARES_AT_ONCE:
            return Refused(Refusal.OVERLOADED, "This node compares with too many already: ask again later.")
        self._comparing += 1
        try:
            request = peer_pb2.CompareContextsRequest.FromString(data)
            if len(request.prefixes) > COMPARED_PREFIXES:
                return Refused(Refusal.BAD_FRAME, f"Node {caller.node_id} names more than {COMPARED_PREFIXES} ranges.")
            return await self._ours(request)
        except DecodeError:
            return Refused(Refusal.BAD_FRAME, f"Node {caller.node_id} sent what is no question.")
        except TallystickError as error:
            return Refused(Refusal.OVERLOADED, f"This node cannot look into its documents: {error.message}")
        finally:
            self._comparing -= 1

    def _note_refused(self, refused: Refused) -> None:
        """Counted; logged by the links, which are refused for the same reasons."""
        self.refused[refused.refusal] += 1
        if refused.refusal in (Refusal.BAD_FRAME, Refusal.FRAME_TOO_LARGE):
            extra = {"event": "context_stream_refused", "refusal": refused.refusal.value, "why": refused.sentence}
            _log.warning("refused what a peer sent of contexts", extra=extra)


async def _answer(replies: Replies, context: _LinkContext) -> None:
    while True:
        reply = await replies.take()
        try:
            await context.write(reply)
        except grpc.aio.InternalError:  # the peer hung up, and gRPC has not cancelled us yet
            return
