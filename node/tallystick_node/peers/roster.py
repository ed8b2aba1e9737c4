"""Whom this node links to and hears: the members of its log, and, while nobody leads it, those that peers know of.

A node that was away while the members changed may know nobody that leads now, and the leader is unknown to it: then it
learns of the others from the first peer that accepts its link. They are no members by that, only addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from tallystick_node.consensus.members import Members


class Linked(Protocol):
    """What holds the outgoing links (`PeerLinks`)."""

    def update(self, members: Mapping[str, str]) -> None:
        """These are to be linked to, by their peer endpoints."""


class Heard(Protocol):
    """What takes the incoming links (`PeerServicer`)."""

    def update(self, member_ids: list[str], *, unseen: bool = False) -> None:
        """These may open a link."""


class Roster:
    """See the module.

    Args:
        members: those of this node's log, or those it was told to begin with.
        has_leader: whether anybody leads this node.
        also: further links to the same nodes.
    """

    def __init__(
        self,
        members: Members,
        linked: Linked,
        heard: Heard,
        has_leader: Callable[[], bool],
        *,
        also: Linked | None = None,
    ) -> None:
        self._members = members
        self._linked = linked
        self._heard = heard
        self._also = also
        self._has_leader = has_leader
        self._strangers: dict[str, str] = {}

    @property
    def endpoints(self) -> dict[str, str]:
        """Peer endpoints by node id."""
        known = {member.node_id: member.peer_endpoint for member in self._members.all}
        return {**self._strangers, **known}

    def update(self, members: Members) -> None:
        """The log says so."""
        unseen = not _is_one_change(self._members, members)
        self._members = members
        self._strangers = {}
        self._tell(unseen=unseen)

    def hear_of(self, members: Members) -> None:
        """A peer that accepted this node's link has these members in its log."""
        strangers = {
            member.node_id: member.peer_endpoint
            for member in members.all
            if self._members.get(member.node_id) is None and member.peer_endpoint
        }
        if strangers and strangers != self._strangers and not self._has_leader():
            self._strangers = strangers
            self._tell(unseen=False)

    def _tell(self, *, unseen: bool) -> None:
        self._linked.update(self.endpoints)
        self._heard.update(list(self.endpoints), unseen=unseen)
        if self._also is not None:
            self._also.update(self.endpoints)


def _is_one_change(before: Members, after: Members) -> bool:
    """Whether one step leads from one to the other. If not, there were others between them: a node that is in both may
    have been removed and added again."""
    changed = set(before.all) ^ set(after.all)
    promoted = {member.node_id for member in changed if member in before.all and member.is_learner}
    return len(changed) == 1 or (len(changed) == 2 and len(promoted) == 1 and len({m.node_id for m in changed}) == 1)
