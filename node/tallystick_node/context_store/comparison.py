"""What of another node the use cases of contexts ask for: how its documents compare. `peers` answers it."""

from __future__ import annotations

from typing import Protocol

from tallystick.peer.v1 import peer_pb2


class Comparison(Protocol):
    """Asks a node of the cluster, this one too."""

    async def __call__(
        self, node_id: str, request: peer_pb2.CompareContextsRequest, /
    ) -> peer_pb2.CompareContextsReply:
        """The answer.

        Raises:
            Unavailable: UNREACHABLE, that node does not answer; what `Port.ask` raises, of this one.
        """
        ...
