"""The bounds of what goes between nodes. Made into a page of the docs: each says what it bounds."""

from __future__ import annotations

from typing import Final

FRAME_BYTES: Final = 16 * 1024 * 1024
"""One frame of a link: the messages in one gRPC message."""

JOIN_BYTES: Final = 1024 * 1024
"""Messages are joined in a frame up to here; a larger one goes alone. A frame is handled only when it is there whole:
over a slow link one of 16 MiB would hold back the first answer for long, and be lost whole with the link."""

QUEUE_BYTES: Final = 16 * 1024 * 1024
"""Messages that wait for one peer, serialized. Beyond, its link is reset."""

QUEUE_MESSAGES: Final = 10_000
"""Messages that wait for one peer. Beyond, its link is reset."""

HANDSHAKE_S: Final = 2.0
"""How long dialling and being accepted may take."""

KEEPALIVE_S: Final = 2.0
"""Silence after which a peer is asked whether it lives, and how long it has to answer."""

REMOVED_KEPT: Final = 1000
"""Removed nodes that are told so when they dial; those removed before are told that they are not known."""

SNAPSHOTS_AT_ONCE: Final = 1
"""Snapshots that a node makes or sends at one time. Who asks meanwhile is refused, and asks again later."""

SNAPSHOT_PART_BYTES: Final = 256 * 1024
"""Data of one part of a snapshot. Small, so that Raft's messages get their turn between two parts."""

SNAPSHOT_COPY_S: Final = 300.0
"""How long a node may take to make the copy that it sends."""

SNAPSHOT_STALL_S: Final = 10.0
"""A snapshot is given up, on both sides, when no part has moved for this long."""

SNAPSHOTS_GIVEN_UP: Final = 8
"""Calls that were given up and that gRPC still holds, for their callers neither read nor hang up. With as many, all
are refused."""
