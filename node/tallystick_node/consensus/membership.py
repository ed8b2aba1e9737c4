"""The gate in front of every change of the members, on the leader (fault 15 of pysyncobj: it has none).

Rules of this file:
- One change at a time: the one before is decided, and so is an entry of this leader's own term (the error in the
  single-server change of Ongaro's thesis, found in 2015: without this rule two leaders can each decide a change).
- A node begins as a learner; it is promoted when it has nearly all of the log, so that it never holds a majority up,
  and the entry that added it in any case: a node gives no vote before its own log knows it.
- The leader does not remove itself (NO_LEADER): it hands over, and the next leader does it when it is asked again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from tallystick.errors import Reason
from tallystick.peer.v1.peer_pb2 import MemberChange
from tallystick_node.consensus.members import MAX_MEMBERS, Members, member_from_proto

LEARNER_LAG_ENTRIES: Final = 1000
"""How much of the log a learner may lack when it is promoted."""


@dataclass(frozen=True, slots=True)
class Leadership:
    """What the gate must know of the leader.

    Attributes:
        leader_id: the leader itself.
        members: of its log, decided or not.
        is_settled: the members are decided, and so is an entry of the leader's own term.
        last_index: the end of its log.
        match_indexes: up to where each other member has the log on disk.
        members_index: the entry that says who the members are.
    """

    leader_id: str
    members: Members
    is_settled: bool
    last_index: int
    match_indexes: dict[str, int]
    members_index: int


def changed_members(change: MemberChange, leadership: Leadership) -> Members | Reason:
    """The members after a change, or why it is refused."""
    if not leadership.is_settled:
        return Reason.MEMBER_CHANGE_PENDING
    if change.kind == MemberChange.KIND_ADD:
        return _added(change, leadership.members)
    if leadership.members.get(change.member.node_id) is None:
        return Reason.MEMBER_NOT_FOUND
    if change.kind == MemberChange.KIND_PROMOTE:
        return _promoted(change.member.node_id, leadership)
    if change.kind == MemberChange.KIND_REMOVE:
        return _removed(change.member.node_id, leadership)
    return Reason.INVALID_MEMBERS


def _added(change: MemberChange, members: Members) -> Members | Reason:
    if members.get(change.member.node_id) is not None:
        return Reason.MEMBER_EXISTS
    if not change.member.node_id or len(members.all) >= MAX_MEMBERS:
        return Reason.INVALID_MEMBERS
    return members.having(replace(member_from_proto(change.member), is_learner=True))


def _promoted(node_id: str, leadership: Leadership) -> Members | Reason:
    if leadership.members.is_voter(node_id):
        return Reason.MEMBER_EXISTS
    match_index = leadership.match_indexes.get(node_id, 0)
    if match_index < max(leadership.members_index, leadership.last_index - LEARNER_LAG_ENTRIES):
        return Reason.LEARNER_BEHIND
    return leadership.members.promoting(node_id)


def _removed(node_id: str, leadership: Leadership) -> Members | Reason:
    if leadership.members.voter_ids == (node_id,):
        return Reason.INVALID_MEMBERS
    if node_id == leadership.leader_id:
        return Reason.NO_LEADER
    return leadership.members.without(node_id)
