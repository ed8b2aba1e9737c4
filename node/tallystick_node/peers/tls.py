"""Mutual TLS between nodes: both sides show a certificate of the peer CA, and each checks the other's name.

Rules of this file:
- A server asks for a certificate and takes no connection without one.
- The dialler checks the name of the node that it means to reach, whatever address it dials.
"""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from tallystick_node.peers.identity import certificate_name


@dataclass(frozen=True, slots=True)
class PeerCredentials:
    """What one node shows and believes, for both directions."""

    server: grpc.ServerCredentials
    channel: grpc.ChannelCredentials


def peer_credentials(ca_pem: bytes, cert_pem: bytes, key_pem: bytes) -> PeerCredentials:
    """Credentials out of PEM texts: the CA to believe, the certificate (chain) and key to show."""
    return PeerCredentials(
        server=grpc.ssl_server_credentials([(key_pem, cert_pem)], root_certificates=ca_pem, require_client_auth=True),
        channel=grpc.ssl_channel_credentials(root_certificates=ca_pem, private_key=key_pem, certificate_chain=cert_pem),
    )


def name_override(peer_id: str) -> tuple[str, str]:
    """The channel option that makes the dialler expect this node's name."""
    return ("grpc.ssl_target_name_override", certificate_name(peer_id))
