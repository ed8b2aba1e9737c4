"""A team: agents of a namespace, taken together.

Rules of this file:
- A cut is the namespace's: it is found by its name, whichever team asks.
- Rolling back appends: the history stays, and who writes meanwhile makes it refuse.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from tallystick import _convert
from tallystick._branches import fork_team
from tallystick._calls import Calls
from tallystick._events import ForkedEvent
from tallystick._json import JSONLike, encode
from tallystick._methods import (
    delete_team_checkpoint_method,
    get_team_checkpoint_method,
    list_team_checkpoints_method,
    read_team_method,
    take_team_checkpoint_method,
)
from tallystick._values import Consistency, Mutation, Operation, OperationKind, Revision
from tallystick.contexts.cursor import Cursor
from tallystick.errors import Invalid, NotFound, Reason
from tallystick.schemas.bringing import Bringer
from tallystick.teams.transaction import TeamTransaction
from tallystick.teams.values import TeamCheckpoint, TeamState, Transacted, team_checkpoint, team_state
from tallystick.v1 import branch_pb2, common_pb2, team_pb2

_PAGE: Final = 100


class Team:
    """The agents of a namespace whose names begin so, each by one branch. Made by `Client.team`; holds no connection.

    Every method may raise `Unavailable` (nothing happened); a write may raise `Undecided` (it may have been applied).
    """

    def __init__(
        self, calls: Calls, *, namespace: str, prefix: str, branch: str, actor: str, consistency: Consistency
    ) -> None:
        self._calls = calls
        self._namespace = namespace
        self._prefix = prefix
        self._branch = branch
        self._actor = actor
        self._consistency = consistency

    async def checkpoint(
        self,
        name: str,
        *,
        agents: Sequence[str] = (),
        contexts: Mapping[str, Cursor] | None = None,
        metadata: Mapping[str, JSONLike] | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> TeamCheckpoint:
        """Names the point where the agents' logs end now, all at once: no write of any of them lies between.

        Args:
            name: unique in the namespace.
            agents: these instead of those with the prefix; at most 1000.
            contexts: what was seen of shared contexts, by name: `{"plan": plan.cursor}`.
            metadata: a JSON object.

        Raises:
            AlreadyExists: the name is taken.
            NotFound: there is no such agent.
            QuotaExceeded: too many agents, or their states are too large together.
        """
        request = team_pb2.TakeTeamCheckpointRequest(
            namespace=self._namespace,
            name=name,
            agents=[
                common_pb2.AgentRef(namespace=self._namespace, agent=agent, branch=self._branch) for agent in agents
            ],
            prefix=self._prefix,
            branch=self._branch,
            contexts=[
                team_pb2.TeamContext(name=context, cursor=cursor.message())
                for context, cursor in sorted((contexts or {}).items())
            ],
            metadata=encode(metadata if metadata is not None else {}),
            idempotency_key=idempotency_key or self._calls.outside.new_key(),
            actor=self._actor,
        )
        key = request.idempotency_key
        answer = await self._calls.write(take_team_checkpoint_method, request, key=key, timeout_s=timeout_s)
        self._calls.session.saw(answer.checkpoint.revision)
        return team_checkpoint(answer.checkpoint)

    async def get_checkpoint(
        self, name: str, *, consistency: Consistency | None = None, timeout_s: float | None = None
    ) -> TeamCheckpoint:
        """The cut of this name, with all that it binds.

        Raises:
            NotFound: there is none.
        """
        consistency = consistency or self._consistency
        request = team_pb2.GetTeamCheckpointRequest(
            namespace=self._namespace, name=name, options=self._calls.session.read_options(consistency)
        )
        answer = await self._calls.read(
            get_team_checkpoint_method, request, consistency=consistency, timeout_s=timeout_s
        )
        return team_checkpoint(answer.checkpoint)

    def checkpoints(
        self, *, consistency: Consistency | None = None, timeout_s: float | None = None
    ) -> AsyncGenerator[TeamCheckpoint, None]:
        """The cuts of the namespace, oldest first, without what they bind. `timeout_s` limits each page."""
        return self._checkpoints(consistency or self._consistency, timeout_s)

    async def delete_checkpoint(self, name: str, *, timeout_s: float | None = None) -> Revision:
        """Removes a cut: its name is free again, and it holds nothing any more. The agents stay as they are.

        Raises:
            NotFound: there is none.
        """
        cut = await self.get_checkpoint(name, consistency=Consistency.LINEARIZABLE, timeout_s=timeout_s)
        request = team_pb2.DeleteTeamCheckpointRequest(
            namespace=self._namespace,
            name=name,
            taken=_convert.revision_message(cut.revision),  # so that a retry does not remove another of that name
            actor=self._actor,
        )
        answer = await self._calls.write(delete_team_checkpoint_method, request, key="", timeout_s=timeout_s)
        self._calls.session.saw(answer.revision)
        return _convert.revision(answer.revision)

    def states(
        self,
        name: str,
        *,
        changed_only: bool = False,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[TeamState, None]:
        """The agents of a cut, one after another, each as it was there.

        The states come as they were stored, whatever upcasters the client was made with.

        Args:
            changed_only: leave out those whose log still ends where the cut has it.
            timeout_s: limits the fetch of each page.

        Raises:
            NotFound: there is no such cut.
            Corrupt: a state is not the one that was bound.
        """
        return self._states(name, changed_only, consistency or self._consistency, timeout_s)

    async def rehydrate(
        self, name: str, *, consistency: Consistency | None = None, timeout_s: float | None = None
    ) -> tuple[TeamState, ...]:
        """All agents of a cut, each as it was there. `timeout_s` limits the fetch of each page.

        Raises:
            NotFound: there is no such cut.
            Corrupt: a state is not the one that was bound.
        """
        return tuple([state async for state in self.states(name, consistency=consistency, timeout_s=timeout_s)])

    async def roll_back(
        self, name: str, *, epochs: Mapping[str, int] | None = None, timeout_s: float | None = None
    ) -> Transacted | None:
        """Gives all agents of a cut the states that they had there, in one transaction: all or none.

        Each agent that went on since gets one mutation more, with the cause `rollback:NAME`; its history stays.

        Args:
            epochs: of the leases that are held of the agents, by name.
            timeout_s: limits the fetch of each page, and the transaction.

        Returns:
            What was appended; None: all agents are where the cut has them.

        Raises:
            Conflict: an agent went on meanwhile: nothing happened, ask again.
            NotFound: there is no such cut, or one of its agents is gone.
            StaleOwner: an agent has a lease, and its epoch was not given.
            Invalid: `TOO_LARGE`, for one transaction: `fork` the team at the cut instead.
        """
        states = [
            state
            async for state in self.states(
                name, changed_only=True, consistency=Consistency.LINEARIZABLE, timeout_s=timeout_s
            )
        ]
        for state in states:
            if state.is_gone:
                gone = state.member.agent
                raise NotFound(f"agent {gone!r} is not the one of the cut any more", metadata={"agent": gone})
        if not states:
            return None
        cut = await self.get_checkpoint(name, timeout_s=timeout_s)
        transaction = TeamTransaction(
            self._calls, namespace=self._namespace, actor=self._actor, idempotency_key=None, timeout_s=timeout_s
        )
        states = [await self._upcast(state, timeout_s) for state in states]
        try:
            async with transaction:
                _put_back(transaction, cut, states, epochs or {})
        except Invalid as error:
            if error.reason is not Reason.TOO_LARGE:
                raise
            text = f"{error.message}: too much for one transaction; fork the team at the cut instead"
            raise Invalid(text, reason=error.reason, metadata=error.metadata) from error
        return transaction.result

    async def fork(
        self, name: str, branch: str, *, idempotency_key: str | None = None, timeout_s: float | None = None
    ) -> tuple[ForkedEvent, ...]:
        """Begins a branch of each agent at a cut, of all or none; agents that were deleted since are left out.

        Raises:
            NotFound: there is no such cut.
            AlreadyExists: an agent has a branch of that name.
            Invalid: the cut is of a list of agents: fork each of them.
        """
        cut = await self.get_checkpoint(name, timeout_s=timeout_s)
        if cut.prefix is None:
            raise Invalid(f"cut {name!r} is of a list of agents: fork each of them", metadata={"checkpoint": name})
        request = branch_pb2.ForkTeamRequest(
            namespace=self._namespace,
            prefix=cut.prefix,
            source_branch=cut.branch,
            branch=branch,
            idempotency_key=idempotency_key or self._calls.outside.new_key(),
            actor=self._actor,
        )
        return await fork_team(self._calls, request, cut.revision, timeout_s)

    async def _upcast(self, state: TeamState, timeout_s: float | None) -> TeamState:
        """The state in the version that this program works with, if it knows one."""
        member = state.member
        chain = self._calls.versions.known.of_agent(member.agent)
        if chain is None:
            return state
        ref = common_pb2.AgentRef(namespace=self._namespace, agent=member.agent, branch=member.branch)
        bringer = Bringer(self._calls, ref, actor=self._actor, epoch=0)
        return replace(state, state_json=await bringer.upcast(chain, state.state_json, member.seq, timeout_s))

    async def _checkpoints(
        self, consistency: Consistency, timeout_s: float | None
    ) -> AsyncGenerator[TeamCheckpoint, None]:
        request = team_pb2.ListTeamCheckpointsRequest(namespace=self._namespace, limit=_PAGE)
        while True:
            request.options.CopyFrom(self._calls.session.read_options(consistency))
            page = await self._calls.read(
                list_team_checkpoints_method, request, consistency=consistency, timeout_s=timeout_s
            )
            for message in page.checkpoints:
                yield team_checkpoint(message)
            if not (page.more and page.checkpoints):
                return
            request.after_revision = page.checkpoints[-1].revision.position

    async def _states(
        self, name: str, changed_only: bool, consistency: Consistency, timeout_s: float | None
    ) -> AsyncGenerator[TeamState, None]:
        request = team_pb2.ReadTeamRequest(namespace=self._namespace, name=name, changed_only=changed_only, limit=_PAGE)
        while True:
            request.options.CopyFrom(self._calls.session.read_options(consistency))
            page = await self._calls.read(read_team_method, request, consistency=consistency, timeout_s=timeout_s)
            for message in page.states:
                member = message.member
                if not message.is_gone:
                    self._calls.observing.saw(member.agent.agent, member.agent.branch, member.seq, member.hash)
                yield team_state(message)
            if not page.more or page.looked_at <= request.after:
                return
            request.after = page.looked_at


def _put_back(
    transaction: TeamTransaction, cut: TeamCheckpoint, states: Sequence[TeamState], epochs: Mapping[str, int]
) -> None:
    """Those that went on get their states; the others must still be where they were."""
    for member in cut.members:
        transaction.agent(member.agent, branch=member.branch, expected_seq=member.seq)
    for state in states:
        member = state.member
        replaced = Operation(OperationKind.REPLACE, "", state.state_json)
        transaction.agent(
            member.agent, branch=member.branch, expected_seq=state.head_seq, epoch=epochs.get(member.agent, 0)
        ).add(Mutation.of(replaced, cause=f"rollback:{cut.name}"))
