"""The connection to a peer: one for each purpose, so that none stands in another's way."""

from __future__ import annotations

import grpc

from tallystick_node.host import Host
from tallystick_node.peers.options import CHANNEL_OPTIONS
from tallystick_node.peers.tls import PeerCredentials, name_override


def open_channel(host: Host, peer_id: str, endpoint: str, credentials: PeerCredentials | None) -> grpc.aio.Channel:
    """A channel of its own to a peer, which over TLS must show the certificate of that node."""
    if credentials is None:
        return host.open_channel(endpoint, None, CHANNEL_OPTIONS)
    return host.open_channel(endpoint, credentials.channel, (*CHANNEL_OPTIONS, name_override(peer_id)))
