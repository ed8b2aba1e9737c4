"""The log that an outbox writes to: its agent's own, or a branch of it. The one place here that talks to nodes.

Rules of this file:
- An attempt is a message, kept byte for byte before it is sent, so that it can be sent again exactly.
- Every attempt says where the log must end. So one that was decided stands at one place, and can be found there by the
  id of its first mutation, however long ago its idempotency key was forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from tallystick import _convert
from tallystick._calls import Calls
from tallystick._methods import append_method
from tallystick._values import Mutation, Snapshot
from tallystick.causality.convert import observed
from tallystick.causality.values import Observed
from tallystick.errors import Compacted, NotFound
from tallystick.leases.fence import NO_LEASE
from tallystick.schemas.versions import newer
from tallystick.v1 import common_pb2, state_pb2

if TYPE_CHECKING:
    from tallystick._agent import Agent


class Line:
    """See the module.

    Args:
        epoch: of the lease that writes go under; raises StaleOwner when it was lost.
        on_fork: the line of an agent on another branch.
    """

    def __init__(
        self,
        agent: Agent,
        calls: Calls,
        ref: common_pb2.AgentRef,
        actor: str,
        epoch: Callable[[], int],
        on_fork: Callable[[Agent], Line],
    ) -> None:
        self.agent = agent
        self.outside = calls.outside
        self._calls = calls
        self._ref = ref
        self._actor = actor
        self._epoch = epoch
        self._on_fork = on_fork

    @property
    def owner(self) -> str:
        """Names the log: namespace, agent and branch."""
        return "/".join((self.agent.namespace, self.agent.name, self.agent.branch))

    def observed(self) -> Observed | None:
        """What a mutation made now is to carry, whenever it comes home; it is told once."""
        log = (self.agent.name, self.agent.branch)
        news = self._calls.observing.news(*log)
        self._calls.observing.acknowledged(*log, news)
        return observed(news.message) if news is not None else None

    def message(self, mutations: Sequence[Mutation], key: str, expected_seq: int) -> bytes:
        """An attempt.

        Raises:
            StaleOwner: the lease was lost.
        """
        return state_pb2.AppendRequest(
            agent=self._ref,
            mutations=map(_convert.mutation_message, self._calls.versions.stamped(self.agent.name, mutations)),
            idempotency_key=key,
            expected_seq=expected_seq,
            epoch=self._epoch(),
            actor=self._actor,
        ).SerializeToString()

    async def send(self, attempt: bytes, timeout_s: float | None) -> int:
        """Sends an attempt until it is decided; the seq of its last mutation.

        Raises:
            Refused: decided: no, now; an earlier sending may have been decided: see `find`.
            Unavailable, Undecided: send it again.
        """
        request = state_pb2.AppendRequest.FromString(attempt)
        answer = await self._calls.write(append_method, request, key=request.idempotency_key, timeout_s=timeout_s)
        self._calls.session.saw(answer.revision)
        return answer.last_seq

    async def find(self, attempt: bytes, timeout_s: float | None) -> int:
        """Where an attempt stands in the log: the seq of its last mutation; 0 if it was not decided.

        Raises:
            Compacted: what is at its place went, so nobody knows.
        """
        request = state_pb2.AppendRequest.FromString(attempt)
        wanted = request.mutations[0].id
        async with aclosing(self.agent.log(after_seq=request.expected_seq, timeout_s=timeout_s)) as log:
            try:
                first = await anext(log, None)
            except NotFound:  # the agent is gone, and all that was decided with it
                return 0
        if first is not None and first.seq > request.expected_seq + 1:
            raise Compacted(f"what followed seq {request.expected_seq} is not kept")
        if first is None or not wanted or first.mutation.id != wanted:
            return 0
        return first.seq + len(request.mutations) - 1

    async def head(self, timeout_s: float | None) -> Snapshot:
        """The state where the log ends now, brought to the version that is written here; of a new agent, the empty one.

        Raises:
            Conflict: `STATE_VERSION`, it has a newer version than this program knows.
        """
        await self.agent.migrate(timeout_s=timeout_s)
        head = await self.agent.rehydrate(tail=0, timeout_s=timeout_s)
        chain = self._calls.versions.known.of_agent(self.agent.name)
        if chain is not None and head.state_version > chain.version:
            raise newer(chain, head.state_version)
        return head

    async def fork(self, branch: str, seq: int, timeout_s: float | None) -> Line:
        """A branch that leaves this log behind a mutation. The name is its key too: the same again is the same branch.

        Raises:
            NotFound: there is no such agent, or no such mutation.
        """
        return self._on_fork(await self.agent.fork(branch, at=seq, idempotency_key=branch, timeout_s=timeout_s))


__all__ = ["NO_LEASE", "Line"]
