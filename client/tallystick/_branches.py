"""Branches, as the client asks for them: of an agent, and of a team.

Rules of this file: those of `_agent.py`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Final

from tallystick import _convert
from tallystick._calls import Calls
from tallystick._events import ForkedEvent
from tallystick._infos import BranchInfo
from tallystick._methods import fork_method, fork_team_method, list_agents_method, list_branches_method
from tallystick._times import to_unix_ms
from tallystick._values import Consistency, Revision
from tallystick.history.history import Point
from tallystick.v1 import branch_pb2, common_pb2, state_pb2

PAGE: Final = 500


class Branches:
    """The branches of one agent, seen from one of them.

    Args:
        ref: the branch where others begin.
        actor: who begins them.
    """

    def __init__(self, calls: Calls, ref: common_pb2.AgentRef, actor: str) -> None:
        self._calls = calls
        self._ref = ref
        self._actor = actor

    async def fork(
        self, branch: str, at: Point, *, at_turn: bool, idempotency_key: str | None, timeout_s: float | None
    ) -> None:
        """See `Agent.fork`."""
        request = branch_pb2.ForkRequest(
            agent=self._ref,
            branch=branch,
            idempotency_key=idempotency_key or self._calls.outside.new_key(),
            actor=self._actor,
        )
        if at_turn:
            request.last_turn = True
        elif isinstance(at, int):
            request.seq = at
        elif isinstance(at, str):
            request.checkpoint = at
        elif isinstance(at, datetime):
            request.time_unix_ms = to_unix_ms(at)
        answer = await self._calls.write(fork_method, request, key=request.idempotency_key, timeout_s=timeout_s)
        self._calls.session.saw(answer.forked.revision)

    async def list(self, consistency: Consistency, timeout_s: float | None) -> AsyncGenerator[BranchInfo, None]:
        """See `Agent.branches`."""
        request = branch_pb2.ListBranchesRequest(agent=self._ref, limit=PAGE)
        while True:
            request.options.CopyFrom(self._calls.session.read_options(consistency))
            page = await self._calls.read(list_branches_method, request, consistency=consistency, timeout_s=timeout_s)
            for message in page.branches:
                yield _convert.branch_info(message)
            if not (page.more and page.branches):
                return
            request.after = page.branches[-1].agent.branch


async def fork_team(
    calls: Calls, request: branch_pb2.ForkTeamRequest, revision: Revision | None, timeout_s: float | None
) -> tuple[ForkedEvent, ...]:
    """See `Client.fork_team`; `request` has no revision yet."""
    at = revision if revision is not None else await _now(calls, request.namespace, timeout_s)
    request.revision.CopyFrom(_convert.revision_message(at))
    answer = await calls.write(fork_team_method, request, key=request.idempotency_key, timeout_s=timeout_s)
    forked = tuple(_convert.forked_event(each.agent, each.forked) for each in answer.branches)
    calls.session.saw(answer.branches[-1].forked.revision)
    return forked


async def _now(calls: Calls, namespace: str, timeout_s: float | None) -> Revision:
    """The present revision, read from the leader."""
    consistency = Consistency.LINEARIZABLE
    request = state_pb2.ListAgentsRequest(namespace=namespace, options=calls.session.read_options(consistency), limit=1)
    answer = await calls.read(list_agents_method, request, consistency=consistency, timeout_s=timeout_s)
    return _convert.revision(answer.header.revision)
