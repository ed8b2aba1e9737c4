"""Entries: what one place of the Raft log holds, as bytes of log/v1.

Rules of this file:
- The format number is checked before anything else is read. A newer one stops the node.
- An empty command is a barrier: it changes nothing, but whoever proposed it learns that it was applied.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from tallystick.log.v1 import log_pb2
from tallystick_node.wire.errors import Malformed, UnsupportedFormat

FORMAT: Final = 1
"""The log format that this version writes, and the newest that it reads."""

BARRIER: Final = b""
"""The command of a barrier."""


class Proposal(NamedTuple):
    """A command as one attempt proposed it; `id` is how the proposing node finds its caller."""

    id: bytes
    command: bytes


def encode_entry(proposals: Iterable[Proposal]) -> bytes:
    """A `log.v1.Entry`."""
    messages = [log_pb2.Proposal(id=proposal.id, command=proposal.command) for proposal in proposals]
    return log_pb2.Entry(format=FORMAT, proposals=messages).SerializeToString(deterministic=True)


def decode_entry(data: bytes) -> list[Proposal]:
    """The proposals of an entry.

    Raises:
        Malformed: the bytes are no entry.
        UnsupportedFormat: a newer version wrote it.
    """
    try:
        message = log_pb2.Entry.FromString(data)
    except DecodeError as error:
        raise Malformed(f"an entry: {error}") from error
    if message.format > FORMAT:
        raise UnsupportedFormat(f"log format {message.format}, this version reads up to {FORMAT}")
    if message.format == 0:
        raise Malformed("an entry without a format")
    return [Proposal(each.id, each.command) for each in message.proposals]
