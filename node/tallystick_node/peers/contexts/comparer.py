"""Asks a peer how its documents compare: `PeerService.CompareContexts` from this side."""

from __future__ import annotations

import grpc

from tallystick.errors import Reason, Unavailable
from tallystick.peer.v1.peer_pb2 import CompareContextsReply, CompareContextsRequest
from tallystick_node.peers.cancelling import raise_if_cancelled
from tallystick_node.peers.contexts.limits import COMPARE_TIMEOUT_S
from tallystick_node.peers.identity import LocalNode, to_metadata
from tallystick_node.peers.options import COMPARE_METHOD, PEER_SERVICE
from tallystick_node.peers.refusals import describe


class Comparer:
    """Questions to one peer, on a channel that is given."""

    def __init__(self, local: LocalNode, peer_id: str, channel: grpc.aio.Channel) -> None:
        self._local = local
        self._peer_id = peer_id
        self._method: grpc.aio.UnaryUnaryMultiCallable[CompareContextsRequest, CompareContextsReply] = (
            channel.unary_unary(
                f"/{PEER_SERVICE}/{COMPARE_METHOD}",
                CompareContextsRequest.SerializeToString,
                CompareContextsReply.FromString,
            )
        )

    async def __call__(self, request: CompareContextsRequest) -> CompareContextsReply:
        """The answer.

        Raises:
            Unavailable: UNREACHABLE, there is none, or the peer refused.
        """
        call = self._method(request, timeout=COMPARE_TIMEOUT_S, metadata=to_metadata(self._local), wait_for_ready=False)
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise_if_cancelled()
            why = f"node {self._peer_id} does not compare: {describe(error)}"
            raise Unavailable(why, reason=Reason.UNREACHABLE) from error
        finally:
            call.cancel()
