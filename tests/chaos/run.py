"""A run: a cluster under load and faults for a time; then peace, and the reckoning.

Rules of this file:
- Faults end before the load does: what was under way gets its answer, and everything has to be equal in the end.
- The reckoning asks each node alone, by local reads: what it has is what counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tallystick import Client, Consistency
from tallystick.testing import Observation, check_agreement, check_convergence
from tallystick.testing.local_cluster import LocalCluster
from tallystick.testing.local_wait import eventually
from tests.bench.processes import rss_bytes
from tests.chaos.generations import Generations
from tests.chaos.judge import Judge
from tests.chaos.nemesis import Nemesis
from tests.chaos.planners import Planners
from tests.chaos.progress import Progress
from tests.chaos.report import Figures
from tests.chaos.watcher import Watcher
from tests.chaos.workload import PATIENT_S, Team
from tests.cluster.harness_ledger import TEXTS_MAX, Findings, read_log

NAMESPACES: Final = ("red", "blue")
PLANNERS: Final = 4
"""Agents that share a context, in a namespace of their own."""
CLIENTS: Final = 5
"""Of each namespace, beside the watcher and the judge's."""
QUIET_WITHIN_S: Final = 120.0
"""Within which all is equal after the last fault, on a machine that others use too."""

_SAMPLE_S: Final = 1.0
_OBSERVATIONS_MAX: Final = 100_000
_FLAGS: Final = ("--journal-segment-bytes=1048576",)  # so that journals are compacted in short runs, too


@dataclass(slots=True)
class _Side:
    """A namespace: who writes, who watches."""

    team: Team
    watcher: Watcher
    generations: Generations


class Chaos:
    """One run.

    Args:
        folder: where data, logs, and histories that are not valid go.
    """

    def __init__(self, folder: Path, *, seed: int, duration_s: float, nodes: int, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._seed = seed
        self._duration_s = duration_s
        self._say = say
        self._cluster = LocalCluster(nodes, folder=folder / "nodes", flags=_FLAGS)
        self._numbers = itertools.count()
        self._observed: list[Observation] = []
        self._figures = Figures(seed, nodes=nodes, clients=CLIENTS * len(NAMESPACES))

    async def run(self) -> Figures:
        """All of it.

        Raises:
            LocalClusterError: a node ended by itself.
            AssertionError: nodes did not come back, or what has to happen in the end did not.
            TallystickError: a client was told something that it should not be told.
        """
        figures = self._figures
        async with self._cluster, contextlib.AsyncExitStack() as stack:
            began_s = time.monotonic()
            progress = Progress(began_s)
            nemesis = Nemesis(self._cluster, progress)
            async with asyncio.TaskGroup() as judging:
                sides = [await self._side(namespace, stack, progress, judging) for namespace in NAMESPACES]
                planners = await self._planners(stack)
                await self._load(sides, planners, nemesis)
                figures.seconds = time.monotonic() - began_s
                for side in sides:
                    side.generations.finish()
                await self._until_judged(sides)
            figures.faults, figures.on_leader = dict(nemesis.done), nemesis.on_leader
            figures.longest_s, figures.longest_under = progress.longest_s, progress.longest_under
            figures.without_majority_s = progress.without_majority_s
            await self._reckon(sides)
            figures.wrong += await planners.reckon(QUIET_WITHIN_S)
            figures.planned = sum(len(planner.made) for planner in planners.all)
            figures.promised = sum(planner.promised for planner in planners.all)
            figures.workers_killed = planners.workers_killed
        return figures

    # Load and faults.

    async def _side(
        self, namespace: str, stack: contextlib.AsyncExitStack, progress: Progress, judging: asyncio.TaskGroup
    ) -> _Side:
        """The team, the watch and the judge of a namespace."""
        connected = [await self._client(stack, namespace, f"client-{place}") for place in range(CLIENTS)]
        watcher = Watcher(await self._client(stack, namespace, "watcher"))
        judge = Judge(await self._client(stack, namespace, "judge"), watcher, self._figures.verdicts, self._folder)
        await stack.enter_async_context(_running(watcher))
        team = Team(namespace, connected, progress, seed=self._seed, numbers=self._numbers)
        return _Side(team, watcher, Generations(namespace, judge.judge, judging))

    async def _planners(self, stack: contextlib.AsyncExitStack) -> Planners:
        """Agents that plan together."""
        clients = [await self._client(stack, "green", f"planner-{place}") for place in range(PLANNERS)]
        return Planners(self._cluster, clients, self._folder / "planners", self._seed)

    async def _load(self, sides: Sequence[_Side], planners: Planners, nemesis: Nemesis) -> None:
        """Load while the nemesis is at work."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as load:
            for side in sides:
                side.team.start(side.generations, stop, load)
            planners.start(stop, load)
            sampler = load.create_task(self._sample(sides))
            try:
                await nemesis.run(self._seed, time.monotonic() + self._duration_s)
            finally:
                stop.set()
                sampler.cancel()

    async def _client(self, clients: contextlib.AsyncExitStack, namespace: str, name: str) -> Client:
        client = self._cluster.connect(namespace, actor=f"{namespace}-{name}", timeout_s=PATIENT_S)
        return await clients.enter_async_context(client)

    async def _sample(self, sides: Sequence[_Side]) -> None:
        """What the nodes say of themselves, now and then; and what this process takes."""
        while len(self._observed) < _OBSERVATIONS_MAX:
            for status in await self._cluster.statuses():
                seen = Observation(status.node_id, "state", status.applied_index, status.state_digest.hex())
                self._observed.append(seen)
            self._figures.memory_bytes = max(self._figures.memory_bytes, rss_bytes(os.getpid()))
            self._say(f"{sum(side.team.ledger.acknowledged_count for side in sides):,} writes acknowledged")
            await asyncio.sleep(_SAMPLE_S)

    async def _until_judged(self, sides: Sequence[_Side]) -> None:
        async def look() -> bool:
            return not any(side.generations.open_count for side in sides)

        await eventually(look, within_s=QUIET_WITHIN_S, what="all generations are judged")

    # The reckoning.

    async def _reckon(self, sides: Sequence[_Side]) -> None:
        figures = self._figures
        await self._cluster.wait_for_leader(within_s=QUIET_WITHIN_S)
        status = await self._cluster.wait_equal(within_s=QUIET_WITHIN_S)
        figures.term = status.term
        ends = [
            Observation(end.node_id, "state", end.applied_index, end.state_digest.hex())
            for end in await self._cluster.statuses()
        ]
        figures.verdicts.add(check_convergence(ends, self._cluster.node_ids), "the end")
        figures.verdicts.add(check_agreement([*self._observed, *ends]), "the states seen meanwhile")
        for side in sides:
            figures.findings.add(await self._read_back(side))
            self._sum_up(side)
        for node in self._cluster.nodes.values():
            if "Traceback" in node.log_text():
                figures.wrong.append(f"the log of node {node.node_id} has a traceback")

    async def _read_back(self, side: _Side) -> Findings:
        """The logs of all agents on each node, against what was told and what was watched."""
        found = Findings()
        found.add(side.team.ledger.seen_at_once())
        async with contextlib.AsyncExitStack() as clients:
            readers = {
                node_id: await clients.enter_async_context(
                    self._cluster.connect(side.team.namespace, nodes=[node_id], consistency=Consistency.LOCAL)
                )
                for node_id in self._cluster.node_ids
            }
            lengths: dict[str, int] = {}
            for agent in side.team.ledger.agents:
                read = await asyncio.gather(*(read_log(reader, agent) for reader in readers.values()))
                found.add(side.team.ledger.compare(agent, dict(zip(readers, read, strict=True))))
                lengths[agent] = max(map(len, read))
        await self._compare_watch(side, lengths)
        return found

    async def _compare_watch(self, side: _Side, lengths: Mapping[str, int]) -> None:
        """Each decided mutation was watched once, the late ones too."""

        async def look() -> bool:
            return all(side.watcher.received[agent] >= length for agent, length in lengths.items())

        with contextlib.suppress(AssertionError):
            await eventually(look, within_s=QUIET_WITHIN_S, what="the watch gets to the end")
        for agent, length in lengths.items():
            if side.watcher.received[agent] != length:
                self._wrong(f"{agent}: {side.watcher.received[agent]} events were watched, {length} decided")

    def _sum_up(self, side: _Side) -> None:
        figures, account = self._figures, side.team.account
        for (action, outcome), count in account.outcomes.items():
            name = f"{action} {outcome}"
            figures.operations[name] = figures.operations.get(name, 0) + count
            figures.undecided += count if outcome == "undecided" else 0
        figures.acknowledged += side.team.ledger.acknowledged_count
        figures.generations += side.generations.count
        for text in account.wrong:
            self._wrong(text)
        if side.watcher.misordered:
            self._wrong(f"{side.watcher.misordered} events of {side.team.namespace} came out of order")

    def _wrong(self, text: str) -> None:
        if len(self._figures.wrong) < TEXTS_MAX:
            self._figures.wrong.append(text)


@contextlib.asynccontextmanager
async def _running(watcher: Watcher) -> AsyncIterator[None]:
    """The watcher receives while the body runs; what ends it fails the body."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(watcher.run())
        yield
        task.cancel()
