"""Who is of the cluster, and changing it: `client.members`.

A change has no key: it is idempotent by its meaning. If an attempt may have been decided and the next one is refused,
the members are looked at: if they are as asked, the change is done, else the refusal stands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

from tallystick._backoff import Failure
from tallystick._calls import Calls, Method
from tallystick._methods import (
    add_member_method,
    promote_member_method,
    remove_member_method,
    status_method,
    transfer_leadership_method,
)
from tallystick._status import MemberInfo, member_infos
from tallystick.errors import NoLeader, Refused, Undecided
from tallystick.v1 import cluster_pb2

RequestT = TypeVar("RequestT")
Found = dict[str, MemberInfo]


class Members:
    """The members of a cluster. Made by `Client.members`.

    Members change one at a time, and each change is decided through the log: a second change waits, by retries, until
    the first is decided. After `Undecided`, look at `list()`: the change may be there, or may yet come.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def list(self, *, timeout_s: float | None = None) -> tuple[MemberInfo, ...]:
        """Voters and learners by node id, as the leader sees them.

        Raises:
            NoLeader: nobody leads.
            Unavailable: no node answered.
        """
        retry = self._calls.retry(timeout_s)
        while True:
            answer = await self._calls.ask_leader(status_method, cluster_pb2.StatusRequest(), retry)
            if answer.role == cluster_pb2.ROLE_LEADER:
                return member_infos(answer.members, answer.node_id, head_index=answer.commit_index)
            await asyncio.sleep(
                retry.after(Failure(NoLeader("no node that leads answered")), self._calls.outside.clock())
            )

    async def add(
        self, node_id: str, *, client_endpoint: str, peer_endpoint: str, timeout_s: float | None = None
    ) -> tuple[MemberInfo, ...]:
        """Makes a node a learner: it is sent the log, and counts for no majority until it is promoted.

        Start the node with `tallystick serve --join`. A node that lost its data folder is removed first, then added.

        Args:
            client_endpoint: `host:port` where clients reach it; `peer_endpoint`: where the other nodes do.

        Returns:
            The members as they are then.

        Raises:
            AlreadyExists: a member has this id.
            Invalid: the id or an endpoint is not well-formed, or there are too many members.
            Unavailable: nothing happened.
            Undecided: it may have happened: look at `list()`.
        """
        request = cluster_pb2.AddMemberRequest(
            node_id=node_id, client_endpoint=client_endpoint, peer_endpoint=peer_endpoint
        )

        def is_done(found: Found) -> bool:
            member = found.get(node_id)
            return (
                member is not None
                and member.is_learner
                and (member.client_endpoint, member.peer_endpoint) == (client_endpoint, peer_endpoint)
            )

        return await self._change(add_member_method, request, is_done, timeout_s)

    async def promote(self, node_id: str, *, timeout_s: float | None = None) -> tuple[MemberInfo, ...]:
        """Makes a learner a voter, once it has caught up; until then it is retried.

        Raises:
            NotFound: no member has this id.
            Unavailable: nothing happened; with `LEARNER_BEHIND` it lacks too much of the log.
            Undecided: it may have happened: look at `list()`.
        """

        def is_done(found: Found) -> bool:
            return node_id in found and not found[node_id].is_learner

        request = cluster_pb2.PromoteMemberRequest(node_id=node_id)
        return await self._change(promote_member_method, request, is_done, timeout_s)

    async def remove(self, node_id: str, *, timeout_s: float | None = None) -> tuple[MemberInfo, ...]:
        """Takes a voter or a learner out of the cluster, running or not.

        Raises:
            NotFound: no member has this id.
            Invalid: no voter would be left.
            Unavailable: nothing happened.
            Undecided: it may have happened: look at `list()`.
        """
        request = cluster_pb2.RemoveMemberRequest(node_id=node_id)
        return await self._change(remove_member_method, request, lambda found: node_id not in found, timeout_s)

    async def transfer_leadership(self, to: str | None = None, *, timeout_s: float | None = None) -> str:
        """Makes another voter the leader: this one, or whoever has most of the log; the leader's id.

        Raises:
            NotFound: no member has this id.
            Invalid: it is no voter.
            Unavailable: nobody took over in time.
            Undecided: whether it took over is not known: look at `list()`.
        """
        request = cluster_pb2.TransferLeadershipRequest(to_node_id=to or "")
        retry = self._calls.retry(timeout_s)
        answer = await self._calls.change(transfer_leadership_method, request, retry)
        return answer.leader_id

    async def _change(
        self,
        method: Method[RequestT, cluster_pb2.MembersResponse],
        request: RequestT,
        is_done: Callable[[Found], bool],
        timeout_s: float | None,
    ) -> tuple[MemberInfo, ...]:
        retry = self._calls.retry(timeout_s)
        try:
            answer = await self._calls.change(method, request, retry)
        except Refused:
            if not retry.maybe_applied:
                raise
            members = await self.list(timeout_s=timeout_s)
            if not is_done({member.node_id: member for member in members}):
                raise
            return members
        except Undecided as error:
            raise _look(error) from error
        leader_id = _node_at(answer.header.leader_endpoint, answer.members)
        return member_infos(answer.members, leader_id, head_index=None)


def _look(error: Undecided) -> Undecided:
    return Undecided(f"{error.message}; look at the members before you ask again", metadata=error.metadata)


def _node_at(endpoint: str, members: Iterable[cluster_pb2.Member]) -> str:
    return next((member.node_id for member in members if endpoint and member.client_endpoint == endpoint), "")
