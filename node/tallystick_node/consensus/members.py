"""Who is of the cluster: voters, and learners that are sent the log and count for no majority.

The members are part of the log: an entry of theirs holds all of them, and from the moment it is in a member's log that
member goes by it, decided or not (Ongaro's thesis, 4.1). One change at a time, and each by one node: any majority of
the members before then has a node in common with any majority of those after.

Rules of this file: pure values; who may change them, and when, is `membership.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from tallystick.log.v1 import log_pb2

MAX_MEMBERS: Final = 16
"""Voters and learners together: each is sent the whole log by the leader."""


@dataclass(frozen=True, slots=True)
class Member:
    """One node of the cluster.

    Attributes:
        client_endpoint, peer_endpoint: `host:port` where clients and other nodes reach it; consensus only carries them.
        is_learner: it is sent the log, and counts for no majority.
    """

    node_id: str
    client_endpoint: str = ""
    peer_endpoint: str = ""
    is_learner: bool = False

    def to_proto(self) -> log_pb2.Member:
        """The message."""
        return log_pb2.Member(
            node_id=self.node_id,
            client_endpoint=self.client_endpoint,
            peer_endpoint=self.peer_endpoint,
            is_learner=self.is_learner,
        )


@dataclass(frozen=True, slots=True)
class Members:
    """All nodes of the cluster, by node id in ascending order.

    Attributes:
        node_ids: of voters and learners.
        voter_ids: of those that majorities are made of.
    """

    all: tuple[Member, ...]
    node_ids: tuple[str, ...] = field(init=False, repr=False, compare=False)
    voter_ids: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Consensus asks for these with each message."""
        object.__setattr__(self, "node_ids", tuple(member.node_id for member in self.all))
        object.__setattr__(self, "voter_ids", tuple(member.node_id for member in self.all if not member.is_learner))

    @classmethod
    def of(cls, members: Iterable[Member]) -> Members:
        """The members in their order."""
        return cls(tuple(sorted(members, key=lambda member: member.node_id)))

    def get(self, node_id: str) -> Member | None:
        """One member, or None."""
        return next((member for member in self.all if member.node_id == node_id), None)

    def is_voter(self, node_id: str) -> bool:
        """Whether a node counts for majorities."""
        return node_id in self.voter_ids

    def having(self, member: Member) -> Members:
        """With this member, in place of one of the same id."""
        return Members.of((*self.without(member.node_id).all, member))

    def without(self, node_id: str) -> Members:
        """Without this node."""
        return Members(tuple(member for member in self.all if member.node_id != node_id))

    def promoting(self, node_id: str) -> Members:
        """With this learner as a voter."""
        return Members(
            tuple(replace(member, is_learner=False) if member.node_id == node_id else member for member in self.all)
        )

    def is_majority(self, node_ids: Iterable[str]) -> bool:
        """Whether these nodes are more than half of the voters."""
        voters = set(self.voter_ids)
        return 2 * len(voters.intersection(node_ids)) > len(voters)

    def encode(self) -> bytes:
        """For the log and the state machine."""
        return self.to_proto().SerializeToString(deterministic=True)

    def to_proto(self) -> log_pb2.Members:
        """The message in an entry."""
        return log_pb2.Members(members=[member.to_proto() for member in self.all])


def decode_members(data: bytes) -> Members:
    """What `Members.encode` made.

    Raises:
        google.protobuf.message.DecodeError: these bytes are not what was written.
    """
    return from_proto(log_pb2.Members.FromString(data))


def from_proto(message: log_pb2.Members) -> Members:
    """The members of an entry."""
    return Members.of(member_from_proto(member) for member in message.members)


def member_from_proto(member: log_pb2.Member) -> Member:
    """One member of a message."""
    return Member(member.node_id, member.client_endpoint, member.peer_endpoint, member.is_learner)
