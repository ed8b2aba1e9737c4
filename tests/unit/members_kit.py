"""Nodes whose members can be changed: the real services of the API over one fake control, on loopback.

Rules of this file: what the control is told to say (`answers`) is used once each, in the order given; an error with
`applied=True` is said after the change was made, as when the answer is lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tallystick.errors import AlreadyExists, NoLeader, NotFound, Reason, TallystickError
from tallystick.peer.v1.peer_pb2 import MemberChange
from tallystick.testing.local_links import free_addresses
from tallystick.v1 import cluster_pb2
from tallystick_node.api.cluster_service import ClusterService
from tallystick_node.api.header import Headers, Whereabouts
from tallystick_node.api.member_service import MemberService
from tallystick_node.api.server import ClientServer
from tallystick_node.api.state_service import StateService
from tallystick_node.consensus.members import Member, Members
from tallystick_node.host import RealHost

COMMIT_INDEX = 100


@dataclass
class Says:
    """What the control says next, and whether it did what was asked before."""

    error: TallystickError
    applied: bool = False


@dataclass
class FakeControl:
    """The members of a cluster that decides at once.

    Attributes:
        down: who does not run: not connected.
        match: how much of the log each has; who is not named has all.
        catching_up: how much of the log these have, each time the leader looks.
        after_add: what to say once something was added.
        asked: what was asked for, in order.
    """

    members: Members
    leader_id: str
    answers: deque[Says] = field(default_factory=deque)
    down: set[str] = field(default_factory=set)
    match: dict[str, int] = field(default_factory=dict)
    catching_up: dict[str, list[int]] = field(default_factory=dict)
    after_add: deque[Says] = field(default_factory=deque)
    asked: list[tuple[MemberChange.Kind.ValueType, Member]] = field(default_factory=list)
    handed_over_to: list[str | None] = field(default_factory=list)

    async def change_members(self, kind: MemberChange.Kind.ValueType, member: Member, timeout_s: float) -> Members:
        assert timeout_s > 0
        self.asked.append((kind, member))
        says = self.answers.popleft() if self.answers else None
        if says is None or says.applied:
            self.members = self._changed(kind, member)
        if kind == MemberChange.KIND_ADD:
            self.answers.extend(self.after_add)
        if says is not None:
            raise says.error
        return self.members

    def _changed(self, kind: MemberChange.Kind.ValueType, member: Member) -> Members:
        known = self.members.get(member.node_id)
        if kind == MemberChange.KIND_ADD:
            if known is not None:
                raise AlreadyExists(f"{member.node_id} is a member", reason=Reason.MEMBER_EXISTS)
            return self.members.having(member)
        if known is None:
            raise NotFound(f"{member.node_id} is no member", reason=Reason.MEMBER_NOT_FOUND)
        if kind == MemberChange.KIND_PROMOTE:
            return self.members.promoting(member.node_id)
        return self.members.without(member.node_id)

    async def hand_over(self, to_node_id: str | None, timeout_s: float) -> str:
        assert timeout_s > 0
        self.handed_over_to.append(to_node_id)
        if self.answers:
            raise self.answers.popleft().error
        self.leader_id = to_node_id or next(each for each in self.members.voter_ids if each != self.leader_id)
        return self.leader_id

    def describe(self, members: Members, *, leads: bool) -> list[cluster_pb2.Member]:
        return [
            cluster_pb2.Member(
                node_id=member.node_id,
                client_endpoint=member.client_endpoint,
                peer_endpoint=member.peer_endpoint,
                is_learner=member.is_learner,
                connected=member.node_id not in self.down,
                match_index=self._match(member.node_id) if leads else 0,
            )
            for member in members.all
        ]

    def _match(self, node_id: str) -> int:
        steps = self.catching_up.get(node_id)
        if steps:
            self.match[node_id] = steps.pop(0)
        return self.match.get(node_id, COMMIT_INDEX)


class Forwarding:
    """One node's way to the control: leadership is handed over by the leader alone."""

    def __init__(self, control: FakeControl, node_id: str) -> None:
        self._control = control
        self._node_id = node_id

    @property
    def members(self) -> Members:
        return self._control.members

    async def change_members(self, kind: MemberChange.Kind.ValueType, member: Member, timeout_s: float) -> Members:
        return await self._control.change_members(kind, member, timeout_s)

    async def hand_over(self, to_node_id: str | None, timeout_s: float) -> str:
        if self._control.leader_id != self._node_id:
            raise NoLeader("this node does not lead")
        return await self._control.hand_over(to_node_id, timeout_s)


class MemberNode:
    """One node of them, with the API as it is."""

    def __init__(self, control: FakeControl, node_id: str, endpoint: str, state: StateService) -> None:
        self.control, self.node_id, self.endpoint = control, node_id, endpoint
        headers = Headers(node_id, self._whereabouts)
        members = MemberService(
            Forwarding(control, node_id), lambda found: control.describe(found, leads=self.leads), headers
        )
        self.server = ClientServer(RealHost(), state, ClusterService(self._status, headers), 100, members)

    @property
    def leads(self) -> bool:
        return self.control.leader_id == self.node_id

    def _whereabouts(self) -> Whereabouts:
        leader = self.control.members.get(self.control.leader_id)
        return Whereabouts(1, leader.client_endpoint if leader is not None else "", 0)

    def _status(self) -> cluster_pb2.StatusResponse:
        return cluster_pb2.StatusResponse(
            node_id=self.node_id,
            role=cluster_pb2.ROLE_LEADER if self.leads else cluster_pb2.ROLE_FOLLOWER,
            leader_id=self.control.leader_id,
            commit_index=COMMIT_INDEX,
            applied_index=COMMIT_INDEX,
            members=self.control.describe(self.control.members, leads=self.leads),
        )


@asynccontextmanager
async def member_nodes(
    node_ids: Sequence[str] = ("a", "b", "c"), leader_id: str = "a"
) -> AsyncIterator[tuple[FakeControl, str]]:
    """Nodes of one cluster, and their endpoints as `connect` takes them; stopped in the end."""
    endpoints = dict(zip(node_ids, free_addresses(), strict=False))
    members = Members.of(Member(node_id, endpoint, f"{node_id}:7421") for node_id, endpoint in endpoints.items())
    control = FakeControl(members, leader_id)
    state = StateService.__new__(StateService)  # nothing of it is called
    nodes = [MemberNode(control, node_id, endpoints[node_id], state) for node_id in node_ids]
    for node in nodes:
        await node.server.start(node.endpoint, None)
    try:
        yield control, ",".join(endpoints.values())
    finally:
        for node in nodes:
            await node.server.stop(0)
