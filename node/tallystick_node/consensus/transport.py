"""The seam to the network: what consensus asks of it, and what it tells consensus."""

from __future__ import annotations

from typing import Protocol

from tallystick.peer.v1.peer_pb2 import RaftMessage
from tallystick_node.consensus.members import Members


class Transport(Protocol):
    """Sends messages to peers, in order for each peer, and may lose any suffix of them with the link."""

    def send(self, peer_id: str, message: RaftMessage) -> None:
        """Hands a message over. Never blocks; dropped silently when the link is down."""
        ...

    def update_members(self, members: Members) -> None:
        """Who is of the cluster has changed: these are to be linked to and heard, and no others."""
        ...


class Receiver(Protocol):
    """What the transport calls, on the event loop."""

    def peer_connected(self, peer_id: str) -> None:
        """The outgoing link to this peer is up: messages can reach it."""
        ...

    def peer_disconnected(self, peer_id: str) -> None:
        """The outgoing link to this peer is gone; what was under way may be lost."""
        ...

    def receive(self, peer_id: str, message: RaftMessage) -> None:
        """A message came from this peer, whose identity the transport has checked."""
        ...
