"""All outgoing links of a node: the `Transport` that consensus sends on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from tallystick.peer.v1.peer_pb2 import RaftMessage
from tallystick_node.consensus.transport import Receiver
from tallystick_node.host import Host
from tallystick_node.peers.counters import LinkCounters
from tallystick_node.peers.identity import LocalNode
from tallystick_node.peers.link import PeerLink
from tallystick_node.peers.tls import PeerCredentials


class PeerLinks:
    """One link to each other member.

    Args:
        local: this node.
        members: peer endpoint (`host:port`) by node id; this node's own entry is passed over.
        credentials: none means that links run without TLS.
        receiver: hears of links that come and go, on the event loop.
        host: what the links run on; None: this machine.
    """

    def __init__(
        self,
        local: LocalNode,
        members: Mapping[str, str],
        credentials: PeerCredentials | None,
        receiver: Receiver,
        *,
        host: Host | None = None,
    ) -> None:
        self._links = {
            peer_id: PeerLink(local, peer_id, endpoint, credentials, receiver, host=host)
            for peer_id, endpoint in members.items()
            if peer_id != local.node_id
        }

    @property
    def connected(self) -> frozenset[str]:
        """The peers that have accepted our stream."""
        return frozenset(peer_id for peer_id, link in self._links.items() if link.is_connected)

    @property
    def counters(self) -> Mapping[str, LinkCounters]:
        """What was counted, by peer."""
        return {peer_id: link.counters for peer_id, link in self._links.items()}

    def send(self, peer_id: str, message: RaftMessage) -> None:
        """Hand a message over. Never blocks; dropped while the link is down.

        Raises:
            KeyError: no such member: a bug of the caller.
        """
        self._links[peer_id].send(message)

    async def run(self) -> None:
        """Hold all links until cancelled; then every stream is ended and every channel closed.

        What a receiver raises comes out here: nothing goes on after it.
        """
        async with asyncio.TaskGroup() as links:
            for link in self._links.values():
                links.create_task(link.run(), name=f"peer link to {link.peer_id}")
