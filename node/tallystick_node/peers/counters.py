"""What is counted of links, for status and logs. Numbers only grow; they start at 0 with the process."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field


class Refusal(enum.StrEnum):
    """Why an incoming stream, or the request for a snapshot, was refused or ended by us."""

    BAD_METADATA = "bad_metadata"
    OTHER_CLUSTER = "other_cluster"
    OTHER_VERSION = "other_version"
    OWN_NODE_ID = "own_node_id"
    UNKNOWN_NODE = "unknown_node"
    REMOVED = "removed"
    WRONG_CERTIFICATE = "wrong_certificate"
    OLD_INCARNATION = "old_incarnation"
    OTHER_DATA_FOLDER = "other_data_folder"
    SUPERSEDED = "superseded"
    FRAME_TOO_LARGE = "frame_too_large"
    BAD_FRAME = "bad_frame"
    OVERLOADED = "overloaded"
    BEHIND = "behind"
    STALLED = "stalled"
    STOPPING = "stopping"


@dataclass(slots=True)
class IncomingCounters:
    """Of all incoming streams of this node."""

    accepted: int = 0
    frames: int = 0
    messages: int = 0
    refused: Counter[Refusal] = field(default_factory=Counter)


@dataclass(slots=True)
class SnapshotCounters:
    """Of the snapshots that other nodes asked of this one."""

    begun: int = 0
    sent: int = 0
    size_bytes: int = 0
    refused: Counter[Refusal] = field(default_factory=Counter)


@dataclass(slots=True)
class LinkCounters:
    """Of the outgoing link to one peer."""

    connects: int = 0
    failed_dials: int = 0
    overflows: int = 0
    frames: int = 0
    messages: int = 0
    size_bytes: int = 0
    dropped: int = 0
    """Messages handed over while the link was down, or when it had no room."""
    oversized: int = 0
    """Messages larger than any frame: a bug of who sent them."""
