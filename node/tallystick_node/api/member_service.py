"""`tallystick.v1.MemberService`: each method turns a message into one call of the control and its value into a message.

Rules of this file: what does not depend on who is of the cluster (a name, an address) is refused here; the rest is
decided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from tallystick.errors import Invalid, NoLeader, Reason
from tallystick.peer.v1.peer_pb2 import MemberChange
from tallystick.v1 import cluster_pb2, cluster_pb2_grpc
from tallystick_node.api import calls
from tallystick_node.api.calls import Context
from tallystick_node.api.header import Headers
from tallystick_node.config.readers import read_endpoint, read_node_id
from tallystick_node.consensus.members import Member, Members


class MemberControl(Protocol):
    """Who is of the cluster, and who changes it."""

    @property
    def members(self) -> Members:
        """As this node has them in its log."""

    async def change_members(self, kind: MemberChange.Kind.ValueType, member: Member, timeout_s: float) -> Members:
        """Decides one change; any node takes it and forwards it to the leader.

        Raises:
            AlreadyExists, NotFound, Invalid: decided: no.
            Unavailable: nothing happened: another change is pending, the learner is behind, nobody leads.
            Undecided: it may have been decided.
        """

    async def hand_over(self, to_node_id: str | None, timeout_s: float) -> str:
        """Makes another voter the leader, this one or whoever has most of the log; its id.

        Raises:
            NoLeader: this node does not lead.
        """


Described = Callable[[Members], Sequence[cluster_pb2.Member]]
"""Members as this node sees them: connected, and how much of the log they have."""


class MemberService(cluster_pb2_grpc.MemberServiceServicer):
    """See the module."""

    def __init__(self, control: MemberControl, describe: Described, headers: Headers) -> None:
        self._control = control
        self._describe = describe
        self._headers = headers

    @calls.unary
    async def AddMember(self, request: cluster_pb2.AddMemberRequest, context: Context) -> cluster_pb2.MembersResponse:  # noqa: N802
        member = Member(
            _checked("node_id", read_node_id, request.node_id),
            _checked("client_endpoint", read_endpoint, request.client_endpoint),
            _checked("peer_endpoint", read_endpoint, request.peer_endpoint),
            is_learner=True,
        )
        return await self._change(MemberChange.KIND_ADD, member, context)

    @calls.unary
    async def PromoteMember(  # noqa: N802
        self, request: cluster_pb2.PromoteMemberRequest, context: Context
    ) -> cluster_pb2.MembersResponse:
        member = Member(_checked("node_id", read_node_id, request.node_id))
        return await self._change(MemberChange.KIND_PROMOTE, member, context)

    @calls.unary
    async def RemoveMember(  # noqa: N802
        self, request: cluster_pb2.RemoveMemberRequest, context: Context
    ) -> cluster_pb2.MembersResponse:
        member = Member(_checked("node_id", read_node_id, request.node_id))
        return await self._change(MemberChange.KIND_REMOVE, member, context)

    @calls.unary
    async def TransferLeadership(  # noqa: N802
        self, request: cluster_pb2.TransferLeadershipRequest, context: Context
    ) -> cluster_pb2.TransferLeadershipResponse:
        to = _checked("to_node_id", read_node_id, request.to_node_id) if request.to_node_id else None
        try:
            leader_id = await self._control.hand_over(to, calls.timeout_s(context))
        except NoLeader as error:  # the caller is to ask the leader
            error.metadata.setdefault("leader_endpoint", self._headers.make().leader_endpoint)
            raise
        return cluster_pb2.TransferLeadershipResponse(header=self._headers.make(), leader_id=leader_id)

    async def _change(
        self, kind: MemberChange.Kind.ValueType, member: Member, context: Context
    ) -> cluster_pb2.MembersResponse:
        members = await self._control.change_members(kind, member, calls.timeout_s(context))
        return cluster_pb2.MembersResponse(header=self._headers.make(), members=self._describe(members))


def _checked(field: str, read: Callable[[object], str], text: str) -> str:
    try:
        return read(text)
    except ValueError as error:
        raise Invalid(f"{field}: {error}", reason=Reason.INVALID_REQUEST, metadata={"field": field}) from error
