"""Whom a node links to: the members of its log, and strangers only while nobody leads it."""

from __future__ import annotations

from collections.abc import Mapping

from tallystick_node.consensus.members import Member, Members
from tallystick_node.peers.roster import Roster


class Told:
    """Stands for links and servicer: remembers what it was told."""

    def __init__(self) -> None:
        self.linked: dict[str, str] = {}
        self.heard: set[str] = set()
        self.unseen: list[bool] = []


class _Links:
    def __init__(self, told: Told) -> None:
        self._told = told

    def update(self, members: Mapping[str, str]) -> None:
        self._told.linked = dict(members)


class _Servicer:
    def __init__(self, told: Told) -> None:
        self._told = told

    def update(self, member_ids: list[str], *, unseen: bool = False) -> None:
        self._told.heard = set(member_ids)
        self._told.unseen.append(unseen)


def members(*names: str, learners: str = "") -> Members:
    return Members.of(Member(name, f"{name}:1", f"{name}:2", is_learner=name in learners) for name in names)


def make(first: Members, *, has_leader: bool = False) -> tuple[Roster, Told]:
    told = Told()
    return Roster(first, _Links(told), _Servicer(told), lambda: has_leader), told


def test_the_members_of_the_log_are_linked_to_and_heard() -> None:
    roster, told = make(members("a", "b"))
    roster.update(members("a", "b", "c"))
    assert told.linked == roster.endpoints == {"a": "a:2", "b": "b:2", "c": "c:2"}
    assert told.heard == {"a", "b", "c"}


def test_strangers_are_heard_while_nobody_leads_and_until_the_log_speaks() -> None:
    roster, told = make(members("a", "b"))
    roster.hear_of(members("a", "b", "d"))
    assert told.heard == {"a", "b", "d"}
    roster.update(members("a", "b", "c"))
    assert told.heard == {"a", "b", "c"}


def test_who_has_a_leader_needs_no_strangers() -> None:
    roster, told = make(members("a", "b"), has_leader=True)
    roster.hear_of(members("a", "b", "d"))
    assert told.heard == set()


def test_steps_that_were_not_seen_are_told() -> None:
    """A node may have been removed and added again between them, with another data folder."""
    roster, told = make(members("a", "b", "c"))
    roster.update(members("a", "b", "c", "d", learners="d"))
    roster.update(members("a", "b", "c", "d"))
    roster.update(members("a", "b", "d"))
    assert told.unseen == [False, False, False]
    roster.update(members("a", "c", "d"))
    roster.update(members("a", "c", "d", learners="c"))
    roster.update(members("a", "c", "d", learners="c"))
    assert told.unseen[3:] == [True, True, True]
