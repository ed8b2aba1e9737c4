"""How gRPC is set up between nodes: what both ends must agree on, in one place.

Rules of this file:
- Nothing is retried behind our back: a message is sent once, in order, or lost with its link.
- A peer that says nothing for `KEEPALIVE_S` is asked, and after as long again given up.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from tallystick_node.peers.limits import KEEPALIVE_S

Options: TypeAlias = tuple[tuple[str, int | str], ...]

PEER_SERVICE: Final = "tallystick.peer.v1.PeerService"
LINK_METHOD: Final = "Link"
FETCH_METHOD: Final = "FetchSnapshot"
CONTEXT_LINK_METHOD: Final = "ContextLink"
COMPARE_METHOD: Final = "CompareContexts"

_MESSAGE_BYTES: Final = 17 * 1024 * 1024  # a frame and room for its refusal to be ours, with a sentence

_COMMON: Final[Options] = (
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", int(KEEPALIVE_S * 1000)),
    ("grpc.keepalive_timeout_ms", int(KEEPALIVE_S * 1000)),
    ("grpc.http2.ping_timeout_ms", int(KEEPALIVE_S * 1000)),  # without it gRPC 1.85 waits 60 s for the answer
    ("grpc.http2.max_pings_without_data", 0),  # 0: as many as it takes; the streams may be idle for hours
)

CHANNEL_OPTIONS: Final[Options] = (
    *_COMMON,
    ("grpc.use_local_subchannel_pool", 1),  # else two channels to one address share a connection, and its fate
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),  # a proxy of the environment is not meant for nodes
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 500),  # also how long one attempt to connect may take
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),  # a peer that moved is found within a second, not thirty
)

SERVER_OPTIONS: Final[Options] = (
    *_COMMON,
    ("grpc.http2.min_ping_interval_without_data_ms", 500),  # else a peer's keepalive counts as an attack
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),  # a second process on this port must fail, not take half of the streams
)
