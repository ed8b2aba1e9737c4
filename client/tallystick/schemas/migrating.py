"""Bringing the states of many agents to a version: bounded at once, each by itself, and as often as it is cut.

Rules of this file:
- Nothing is remembered between two runs: the version of a state says whether its agent is done.
- What goes wrong with one agent is told in the report; what goes wrong with the cluster ends the run.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from tallystick._branches import Branches
from tallystick._calls import Calls
from tallystick._methods import list_agents_method
from tallystick._values import MAIN, Consistency
from tallystick.errors import NotFound, Refused, TallystickError
from tallystick.schemas.bringing import Bringer
from tallystick.schemas.report import FAILURES, Brought, MigrationFailure, MigrationReport, OnProgress
from tallystick.schemas.upcasters import Chain
from tallystick.v1 import common_pb2, state_pb2

CONCURRENCY: Final = 8
"""Agents under way at once."""

MAX_CONCURRENCY: Final = 64

_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class _Log:
    """A log, and the version that its state has at least."""

    ref: common_pb2.AgentRef
    version: int

    def __str__(self) -> str:
        branch = self.ref.branch or MAIN
        return self.ref.agent if branch == MAIN else f"{self.ref.agent}@{branch}"


@dataclass(slots=True)
class _Count:
    migrated: int = 0
    skipped: int = 0
    failed: int = 0
    failures: list[MigrationFailure] = field(default_factory=list)

    def add(self, ref: common_pb2.AgentRef, outcome: Brought | Exception) -> None:
        if isinstance(outcome, Brought):
            self.migrated += outcome.is_appended
            self.skipped += not outcome.is_appended
            return
        self.failed += 1
        if len(self.failures) < FAILURES:
            self.failures.append(MigrationFailure(ref.agent, ref.branch or MAIN, outcome))

    def report(self, log: str = "") -> MigrationReport:
        return MigrationReport(self.migrated, self.skipped, self.failed, tuple(self.failures), log)


class Migration:
    """One run, over the logs of agents whose names begin with the chain's prefix.

    Args:
        left_alone: longer prefixes, whose agents are of another subject.
    """

    def __init__(
        self,
        calls: Calls,
        *,
        namespace: str,
        actor: str,
        chain: Chain,
        to_version: int,
        left_alone: tuple[str, ...],
        with_branches: bool,
        progress: OnProgress | None,
        timeout_s: float | None,
    ) -> None:
        self._calls = calls
        self._namespace = namespace
        self._actor = actor
        self._chain = chain
        self._to_version = to_version
        self._left_alone = left_alone
        self._with_branches = with_branches
        self._progress = progress
        self._timeout_s = timeout_s
        self._count = _Count()
        self._turn = asyncio.Lock()

    async def run(self, concurrency: int) -> MigrationReport:
        """Goes through all of them, so many at once.

        Raises:
            Unavailable, Undecided: no majority answers.
        """
        async with aclosing(self._logs()) as logs:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(concurrency):
                        group.create_task(self._work(logs))
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None
        return self._count.report()

    async def _work(self, logs: AsyncGenerator[_Log, None]) -> None:
        while True:
            async with self._turn:  # one fetches a page, the others wait for it
                found = await anext(logs, None)
            if found is None:
                return
            outcome = await self._brought(found)
            if outcome is None:
                continue
            self._count.add(found.ref, outcome)
            if self._progress is not None:
                told = self._progress(self._count.report(str(found)))
                if inspect.isawaitable(told):
                    await told

    async def _brought(self, log: _Log) -> Brought | Exception | None:
        """What became of one log; None: it is gone."""
        if log.version >= self._to_version:
            return Brought(log.version, log.version, 0, 0)
        bringer = Bringer(self._calls, log.ref, actor=self._actor, epoch=0)
        try:
            return await bringer.bring(self._chain, self._to_version, self._timeout_s)
        except Refused as refused:
            return None if isinstance(refused, NotFound) else refused
        except TallystickError:
            raise
        except Exception as error:  # noqa: BLE001 - an upcaster raised it, about this one state
            return error

    async def _logs(self) -> AsyncGenerator[_Log, None]:
        consistency = Consistency.LINEARIZABLE
        request = state_pb2.ListAgentsRequest(namespace=self._namespace, prefix=self._chain.subject.name, limit=_PAGE)
        while True:
            request.options.CopyFrom(self._calls.session.read_options(consistency))
            page = await self._calls.read(
                list_agents_method, request, consistency=consistency, timeout_s=self._timeout_s
            )
            for message in page.agents:
                if message.agent.agent.startswith(self._left_alone):
                    continue
                yield _Log(message.agent, message.state_version)
                if self._with_branches:
                    async for branch in self._branches(message.agent):
                        yield branch
            if not (page.more and page.agents):
                return
            request.after = page.agents[-1].agent.agent

    async def _branches(self, agent: common_pb2.AgentRef) -> AsyncGenerator[_Log, None]:
        branches = Branches(self._calls, agent, self._actor)
        try:
            async for branch in branches.list(Consistency.LINEARIZABLE, self._timeout_s):
                if branch.name != MAIN:
                    ref = common_pb2.AgentRef(namespace=self._namespace, agent=agent.agent, branch=branch.name)
                    yield _Log(ref, 0)
        except NotFound:  # deleted meanwhile
            return
