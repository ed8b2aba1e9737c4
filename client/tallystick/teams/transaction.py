"""A transaction: what is to be appended to several agents, gathered here and sent at the end of the block.

Rules of this file:
- Nothing is sent before the block ends, and nothing at all if it ends by an exception.
- A transaction is used once. Its key is made once: retries have one effect.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from tallystick import _convert
from tallystick._calls import Calls
from tallystick._json import JSONLike
from tallystick._methods import transact_method
from tallystick._values import MAIN, Mutation, Operation
from tallystick.causality.observing import REQUEST_BYTES, News
from tallystick.errors import Invalid, Refused
from tallystick.schemas.bringing import Bringer
from tallystick.teams.values import Transacted, transacted
from tallystick.v1 import common_pb2, team_pb2


class Writer(Protocol):
    """Who writes a log: an `Agent`, blocking or not."""

    @property
    def name(self) -> str:
        """The agent's name."""

    @property
    def branch(self) -> str:
        """The branch of its log."""

    @property
    def epoch(self) -> int:
        """Of the lease that its writes go under; 0: none."""


class TransactionPart:
    """What a transaction appends to one agent, in the order of the calls. Nothing is sent before the block ends."""

    def __init__(self, ref: common_pb2.AgentRef) -> None:
        self._ref = ref
        self._mutations: list[Mutation] = []
        self._expected_seq: int | None = None
        self._epoch = 0

    def append(
        self, *operations: Operation, cause: str = "", trace_id: str = "", schema_version: int = 0
    ) -> TransactionPart:
        """One mutation of these operations, as `Agent.append`."""
        return self.add(Mutation.of(*operations, cause=cause, trace_id=trace_id, schema_version=schema_version))

    def record(
        self, kind: str, payload: JSONLike = None, *, cause: str = "", trace_id: str = "", schema_version: int = 0
    ) -> TransactionPart:
        """A custom event, as `Agent.record`.

        Raises:
            Invalid: the kind is empty or `state`, or the payload is not JSON.
        """
        return self.add(Mutation.event(kind, payload, cause=cause, trace_id=trace_id, schema_version=schema_version))

    def add(self, mutation: Mutation) -> TransactionPart:
        """Any mutation."""
        self._mutations.append(mutation)
        return self

    @property
    def is_empty(self) -> bool:
        """Nothing is appended."""
        return not self._mutations

    def expect(self, expected_seq: int | None, epoch: int) -> None:
        """Where the log must end, and under which lease; None and 0 leave what was said before."""
        self._expected_seq = self._expected_seq if expected_seq is None else expected_seq
        self._epoch = epoch or self._epoch

    async def make_ready(self, calls: Calls, actor: str, timeout_s: float | None, *, may_be_decided: bool) -> None:
        """Brings the agent's state to the version that this program works with, and writes that into the mutations.

        Raises:
            Conflict: `STATE_VERSION`, it has a newer version; or the log moved by it.
        """
        chain = calls.versions.to_check(self._ref.agent, self._mutations)
        if chain is not None:
            bringer = Bringer(calls, self._ref, actor=actor, epoch=self._epoch)
            self._expected_seq = await bringer.ready(
                chain, self._expected_seq, timeout_s, may_be_decided=may_be_decided
            )
        self._mutations = [*calls.versions.stamped(self._ref.agent, self._mutations)]

    def message(self) -> team_pb2.TransactionPart:
        """The part as it is sent."""
        return team_pb2.TransactionPart(
            agent=self._ref,
            mutations=map(_convert.mutation_message, self._mutations),
            expected_seq=self._expected_seq,
            epoch=self._epoch,
        )


class TeamTransaction:
    """Appends to several agents, decided as one entry: to all or to none. Made by `Client.transaction`; used once.

    Example:
        async with client.transaction() as team:
            team.agent("alice").append(ops.increment("/balance", -5))
            team.agent("bob").append(ops.increment("/balance", 5))
        print(team.result.revision)
    """

    def __init__(
        self, calls: Calls, *, namespace: str, actor: str, idempotency_key: str | None, timeout_s: float | None
    ) -> None:
        self._calls = calls
        self._request = team_pb2.TransactRequest(
            namespace=namespace, idempotency_key=idempotency_key or calls.outside.new_key(), actor=actor
        )
        self._has_callers_key = idempotency_key is not None
        self._timeout_s = timeout_s
        self._parts: dict[tuple[str, str], TransactionPart] = {}
        self._is_over = False
        self._result: Transacted | None = None

    async def __aenter__(self) -> Self:
        if self._is_over:
            raise Invalid("a transaction is used once", metadata={"field": "transaction"})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        if error is None and self._parts:
            self._result = await self._send()

    def agent(
        self, agent: str | Writer, *, branch: str = MAIN, expected_seq: int | None = None, epoch: int = 0
    ) -> TransactionPart:
        """The part of one agent, which need not exist yet; asked again, the same one.

        A part to which nothing is added only says where the agent's log must end.

        Args:
            agent: its name; or an `Agent`, whose branch and whose lease it goes under.
            expected_seq: refuse the whole transaction unless the agent's log ends here (0: unless it is empty).
            epoch: of the lease that is held of this agent, where it is named.

        Raises:
            Invalid: the block is over.
            StaleOwner: the `Agent` has lost its lease.
        """
        if self._is_over:
            raise Invalid("the transaction is over", metadata={"field": "transaction"})
        if isinstance(agent, str):
            name = agent
        else:
            name, branch, epoch = agent.name, agent.branch, agent.epoch
        ref = common_pb2.AgentRef(namespace=self._request.namespace, agent=name, branch=branch)
        part = self._parts.setdefault((name, branch), TransactionPart(ref))
        part.expect(expected_seq, epoch)
        return part

    @property
    def result(self) -> Transacted:
        """What was decided, once the block is over.

        Raises:
            Invalid: nothing was: the block is not over, it failed, or there was nothing to append.
        """
        if self._result is None:
            raise Invalid("the transaction was not decided", metadata={"field": "transaction"})
        return self._result

    async def _send(self) -> Transacted:
        request = self._request
        in_order = sorted(self._parts.values(), key=lambda part: part.is_empty)
        for part in in_order:
            await part.make_ready(self._calls, request.actor, self._timeout_s, may_be_decided=self._has_callers_key)
        request.parts.extend(part.message() for part in in_order)
        key, observing = request.idempotency_key, self._calls.observing
        news: list[tuple[str, str, News | None]] = []
        room_bytes = REQUEST_BYTES - request.ByteSize()
        for each in request.parts:
            told = observing.carry(*_log(each), each.mutations, room_bytes)
            room_bytes -= told.message.ByteSize() if told is not None else 0
            news.append((*_log(each), told))
        try:
            answer = await self._calls.write(transact_method, request, key=key, timeout_s=self._timeout_s)
        except Refused:
            for each in request.parts:
                self._calls.versions.doubt(_log(each))
            raise
        for agent, branch, carried in news if not answer.replayed else ():
            observing.acknowledged(agent, branch, carried)
        for each, done in zip(request.parts, answer.parts, strict=False):
            observing.wrote(*_log(each), done.first_seq, done.last_seq, done.hash)
        self._calls.session.saw(answer.revision)
        return transacted(request, answer)


def _log(part: team_pb2.TransactionPart) -> tuple[str, str]:
    return part.agent.agent, part.agent.branch or MAIN
