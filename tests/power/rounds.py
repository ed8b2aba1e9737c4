"""Rounds of power loss: write, cut the power of all nodes, bring them back, look for what was acknowledged.

Rules of this file:
- The disks are cut while the nodes run, or after they were frozen: what is being synced fails, or is half done.
- Writers go on through it all, each write with its client's own retries and key; a write that was under way has one
  effect or none.
- What was acknowledged in any round is looked for once more at the end, on every node.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tallystick import Client, Consistency, Unavailable, Undecided, ops
from tallystick.testing.local_node import LocalClusterError
from tallystick.testing.local_wait import eventually
from tests.cluster.harness import Cluster
from tests.cluster.harness_ledger import Findings, Ledger, cause_of, read_log
from tests.power.disk import Disk

NODES: Final = ("a", "b", "c")
WRITERS: Final = 6
ACKS_BEFORE_CUT: Final = (1, 120)
"""Acknowledgements of a round before the cut, drawn between these."""
WITHIN_S: Final = 60.0

_FLAGS: Final = ("--disk-reserve-bytes=4194304", "--journal-segment-bytes=1048576")  # the disks are small


@dataclass(slots=True)
class Result:
    """What came of a run.

    Attributes:
        at_cut: writes that were acknowledged when a power cut came, of all rounds.
        undecided: writes whose outcome was never told.
    """

    rounds: int = 0
    seed: int = 0
    at_cut: int = 0
    acknowledged: int = 0
    undecided: int = 0
    seconds: float = 0.0
    findings: Findings = field(default_factory=Findings)


class Rounds:
    """See the module.

    Args:
        folder: where logs go; disks are mounted elsewhere.
        disks: of each node.
        environment: of the nodes, beside ours.
    """

    def __init__(
        self, folder: Path, disks: Mapping[str, Disk], seed: int, *, environment: Mapping[str, str] | None = None
    ) -> None:
        self._disks = disks
        self._rng = random.Random(seed)
        self._numbers = itertools.count()
        self._ledger = Ledger()
        self._result = Result(seed=seed)
        self._cluster = Cluster(
            folder,
            flags=_FLAGS,
            data_folders={node_id: disk.place / "data" for node_id, disk in disks.items()},
            environment=environment,
        )

    async def run(self, rounds: int, say: Callable[[str], None]) -> Result:
        """So many rounds, and the reckoning.

        Raises:
            AssertionError, LocalClusterError: the nodes did not come back.
        """
        began_s = time.monotonic()
        async with self._cluster:
            for number in range(rounds):
                await self._round(number)
                self._result.rounds += 1
                say(f"round {number + 1}: {self._result.at_cut} acknowledged at a cut so far")
            await self._cluster.wait_equal()
            self._result.findings.add(await self._compare(self._ledger.agents))
            self._result.findings.add(self._ledger.seen_at_once())
        self._result.acknowledged = self._ledger.acknowledged_count
        self._result.seconds = time.monotonic() - began_s
        return self._result

    async def lose(self) -> Findings:
        """One round in which nothing was synced since a moment before the writes: what is missing after it."""
        async with self._cluster:
            for disk in self._disks.values():
                disk.sync()
            async with self._writing("lost") as stop:
                await self._acknowledged_more(ACKS_BEFORE_CUT[1])
                stop.set()
                await self._cut()
                acknowledged = self._ledger.acknowledged_count
                try:
                    await self._cluster.start(*NODES)
                    await self._cluster.wait_for_leader()
                    return await self._compare(self._ledger.agents)
                except (
                    LocalClusterError,
                    AssertionError,
                    Unavailable,
                ) as error:  # what is left is refused: all is lost
                    return Findings(lost=acknowledged, compared=acknowledged, texts=[str(error)])

    async def _round(self, number: int) -> None:
        async with self._writing(f"round-{number}"):
            await self._acknowledged_more(self._rng.randint(*ACKS_BEFORE_CUT))
            await self._cut()
            await self._cluster.start(*NODES)
            await self._acknowledged_more(WRITERS)
        await self._cluster.wait_equal()
        agents = [agent for agent in self._ledger.agents if agent.startswith(f"round-{number}-")]
        self._result.findings.add(await self._compare(agents))

    async def _cut(self) -> None:
        """Cuts the power of all, and puts the disks back."""
        nodes = self._cluster.nodes.values()
        if self._rng.random() < 0.5:
            for node in nodes:
                node.pause()
        for disk in self._rng.sample(list(self._disks.values()), len(self._disks)):
            disk.cut()
        self._result.at_cut = self._ledger.acknowledged_count
        self._cluster.kill(*NODES)
        for disk in self._disks.values():
            disk.unmount()
            disk.mount()

    # Writing, and reading back.

    @contextlib.asynccontextmanager
    async def _writing(self, name: str) -> AsyncIterator[asyncio.Event]:
        """Writers that write while the body runs, or until it sets the event; they have all ended after it."""
        stop = asyncio.Event()
        async with contextlib.AsyncExitStack() as clients, asyncio.TaskGroup() as tasks:
            for place in range(WRITERS):
                client = await clients.enter_async_context(self._cluster.connect(timeout_s=WITHIN_S))
                tasks.create_task(self._write(client, f"{name}-writer-{place}", stop))
            try:
                yield stop
            finally:
                stop.set()

    async def _write(self, client: Client, agent: str, stop: asyncio.Event) -> None:
        while not stop.is_set():
            number = next(self._numbers)
            try:
                appended = await client.agent(agent).append(ops.increment("/n"), cause=cause_of(number))
            except Undecided:
                self._ledger.undecided(agent, number)
                self._result.undecided += 1
            except Unavailable:
                continue
            else:
                self._ledger.acknowledged(agent, appended.seq, number)

    async def _acknowledged_more(self, count: int) -> None:
        wanted = self._ledger.acknowledged_count + count

        async def look() -> bool:
            return self._ledger.acknowledged_count >= wanted

        await eventually(look, within_s=WITHIN_S, what=f"{count} more acknowledgements")

    async def _compare(self, agents: Sequence[str]) -> Findings:
        found = Findings()
        async with contextlib.AsyncExitStack() as clients:
            readers = {
                node_id: await clients.enter_async_context(
                    self._cluster.connect(nodes=[node_id], consistency=Consistency.LOCAL)
                )
                for node_id in NODES
            }
            for agent in agents:
                logs = {node_id: await read_log(reader, agent) for node_id, reader in readers.items()}
                found.add(self._ledger.compare(agent, logs))
        return found
