"""What an entry of the log holds, as bytes: commands with the ids of their proposals, or the members from there on.

The first byte is the kind; the kinds below 16 are pysyncobj's own. What follows is a `tallystick.log.v1.Entry`.

Rules of this file: a kind or a format that is not known stops the node; skipping it would make replicas differ.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from tallystick.log.v1 import log_pb2
from tallystick_node.consensus.members import Members, from_proto

ENTRY_FORMAT: Final = 1
MEMBERS_FORMAT: Final = 2
"""Of an entry that holds members: a version that knows none must not take it for an empty one."""

_COMMANDS: Final = b"\x00"
"""pysyncobj's REGULAR."""
_NO_OP: Final = b"\x01"
"""pysyncobj's: a new leader begins its term with one."""
_MEMBERS: Final = b"\x10"


class UnreadableEntryError(Exception):
    """An entry of a newer version, or none at all: this node must not guess what it means."""


@dataclass(frozen=True, slots=True)
class DecodedEntry:
    """What an entry holds.

    Attributes:
        proposals: (id, command) pairs in their order; an empty command changes nothing.
        members: who is of the cluster from this entry on, if it says so.
    """

    proposals: tuple[tuple[bytes, bytes], ...] = ()
    members: Members | None = None


def encode_commands(proposals: Iterable[tuple[bytes, bytes]]) -> bytes:
    """An entry of (id, command) pairs."""
    logged = [log_pb2.Proposal(id=proposal_id, command=command) for proposal_id, command in proposals]
    return _COMMANDS + log_pb2.Entry(format=ENTRY_FORMAT, proposals=logged).SerializeToString()


def encode_members_entry(proposal_id: bytes, members: Members) -> bytes:
    """An entry that says who is of the cluster from there on."""
    entry = log_pb2.Entry(
        format=MEMBERS_FORMAT, proposals=[log_pb2.Proposal(id=proposal_id)], members=members.to_proto()
    )
    return _MEMBERS + entry.SerializeToString()


def holds_members(data: bytes) -> bool:
    """Whether an entry says who is of the cluster."""
    return data[:1] == _MEMBERS


def decode_entry(data: bytes) -> DecodedEntry:
    """What an entry holds.

    Raises:
        UnreadableEntryError: a newer node wrote it, or the bytes are not what was written.
    """
    kind = data[:1]
    if kind == _NO_OP:
        return DecodedEntry()
    if kind not in (_COMMANDS, _MEMBERS):
        raise UnreadableEntryError(f"an entry of kind {kind.hex() or 'none'}: this node does not know it; upgrade it")
    try:
        entry = log_pb2.Entry.FromString(data[1:])
    except DecodeError as error:
        raise UnreadableEntryError(f"an entry: {error}") from error
    expected = ENTRY_FORMAT if kind == _COMMANDS else MEMBERS_FORMAT
    if entry.format != expected:
        raise UnreadableEntryError(f"entry format {entry.format}, this node reads {expected}: upgrade it")
    proposals = tuple((proposal.id, proposal.command) for proposal in entry.proposals)
    return DecodedEntry(proposals, from_proto(entry.members) if kind == _MEMBERS else None)
