"""`SimCluster`: a cluster of the real node code in one process, under virtual time, with faults, all from one seed.

    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect(namespace="demo") as client:
            await client.agent("x").append(ops.set("/n", 1))
            leader = await cluster.wait_for_leader()
            cluster.partition([leader], cluster.others(leader))
            await client.agent("x").append(ops.set("/n", 2))       # the others have elected another
            cluster.heal()

    with SimCluster(nodes=3, seed=7) as cluster:
        cluster.run(scenario)

A seed replays byte for byte: `trace_hash` is equal across runs, processes and machines, as long as the test itself
takes its time from the event loop, and its randomness from `cluster.rng`.

Rules of this file:
- Nothing is left at the end: no process or thread was begun, the scratch folder is removed.
- Python's garbage collector stands still while the simulation runs: when it comes is not from the seed.
"""

from __future__ import annotations

import asyncio
import gc
import random
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from tallystick import Client, Consistency, NodeStatus, Role, TallystickError
from tallystick.schemas.known import SchemaKnowledge
from tallystick.testing.local_wait import eventually
from tallystick_node.node import tuning_of
from tallystick_node.sim.faults import Faults
from tallystick_node.sim.loop import SimLoop, current_process
from tallystick_node.sim.network import CLIENTS, Network
from tallystick_node.sim.node import CLIENT_PORT, SimNode, make_config
from tallystick_node.sim.outside import SimOutside
from tallystick_node.sim.trace import Trace

T = TypeVar("T")

NODES_MAX: Final = 9
START_S: Final = 30.0
"""Within which a started node answers, and a healthy cluster has a leader; virtual seconds, as all here."""
TIMEOUT_S: Final = 20.0
"""Of a client's calls, unless it says otherwise."""
WITHIN_S: Final = 3600.0
"""How long a scenario may take, unless it says otherwise."""

_SMALL_SETTINGS: Final = {"journal_segment_bytes": 2048}
_SMALL_ENTRIES: Final = 5
_SMALL_BYTES: Final = 2048
_NAMES: Final = "abcdefghi"
_OBSERVER: Final = "observer"
_STATUS_S: Final = 1.0


class SimulationFailed(AssertionError):
    """The simulated code did what it must not: a node ended by itself, or a callback raised."""


class SimCluster(Faults):
    """See the module. Used as `with`, once; not within a running event loop.

    Args:
        nodes: how many (they are called a, b, c, ...), or their names.
        seed: what everything comes from.
        small_journals: journals keep little, so that a node which was away for a moment needs a copy of the state.
        contexts: the nodes hold contexts.
        settings: of all nodes, by their names in the configuration, for example `heartbeat_s=0.05`.

    Attributes:
        rng: randomness from the seed, for the scenario's own use.
        has_contexts: whether the nodes hold contexts.
        folder: where SQLite's files are, once entered; gone at the end.
    """

    def __init__(
        self,
        nodes: int | Sequence[str] = 3,
        *,
        seed: int = 0,
        small_journals: bool = False,
        contexts: bool = False,
        **settings: object,
    ) -> None:
        names = list(_NAMES[:nodes] if isinstance(nodes, int) else nodes)
        if not 1 <= len(names) <= NODES_MAX or (isinstance(nodes, int) and nodes != len(names)):
            raise ValueError(f"a simulated cluster has 1 to {NODES_MAX} nodes")
        if len({*names, CLIENTS, _OBSERVER}) < len(names) + 2:
            raise ValueError(f"names of nodes differ, and none is {CLIENTS!r} or {_OBSERVER!r}: {', '.join(names)}")
        self.seed = seed
        self.node_ids = tuple(names)
        self.loop = SimLoop()
        self.trace = Trace(lambda: self.loop.now_s)
        source = random.Random(seed)
        self.rng = random.Random(source.random())
        self._source = source
        self.network = Network(self.loop, random.Random(source.random()), self.trace)
        self._small_journals = small_journals
        self.has_contexts = contexts
        self._settings = {**(_SMALL_SETTINGS if small_journals else {}), **settings}
        self.folder: Path | None = None
        self._collected_garbage = False
        self.nodes: dict[str, SimNode] = {}
        self._observer: Client | None = None
        self.loop.thread_s = self._thread_s

    # Its life.

    def __enter__(self) -> Self:
        if self.folder is not None:
            raise RuntimeError("this cluster was used before: make another")
        self._collected_garbage = gc.isenabled()
        gc.disable()
        memory = Path("/dev/shm")  # noqa: S108 - a folder of ours is made in it, by mkdtemp
        self.folder = Path(tempfile.mkdtemp(prefix="tallystick-sim-", dir=memory if memory.is_dir() else None))
        for name in self.node_ids:
            rng = random.Random(self._source.random())
            config = make_config(name, list(self.node_ids), self.folder, contexts=self.has_contexts, **self._settings)
            tuning = tuning_of(config)
            if self._small_journals:
                tuning = replace(tuning, journal_tail_entries=_SMALL_ENTRIES, journal_kept_bytes=_SMALL_BYTES)
            self.nodes[name] = SimNode(name, config, tuning, self.loop, self.network, rng, self.trace)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for node in self.nodes.values():
                node.kill()
            self.loop.end()
        finally:
            if self._collected_garbage:
                gc.enable()
            if self.folder is not None:
                shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, scenario: Callable[[SimCluster], Awaitable[T]], *, within_s: float = WITHIN_S) -> T:
        """Runs a scenario to its end; the first time, once the nodes are up and follow a leader.

        Raises:
            TimeoutError: it was not done within this virtual time.
            SimulationFailed: a node ended by itself with an error, and nothing that was done to it explains that.
            Deadlock: everything waits, and nothing is left to happen.
        """

        async def within() -> T:
            async with asyncio.timeout(within_s):
                if self._observer is None:
                    await self._begin()
                return await scenario(self)

        try:
            result = self.loop.run_until_complete(within())
        except BaseException as error:
            error.add_note(f"seed {self.seed}; the simulation's last steps:\n" + "\n".join(self.trace.tail(20)))
            raise
        self.check()
        return result

    def check(self) -> None:
        """Raises `SimulationFailed` if something ended that must not, or raised what nobody caught."""
        for failure in self.loop.failures:
            raise SimulationFailed(f"seed {self.seed}: {failure}")
        for node in self.nodes.values():
            if node.machine.wrongly_damaged:
                raise SimulationFailed(f"seed {self.seed}: node {node.name}: {node.machine.wrongly_damaged}")
            if node.failure is not None and not node.may_fail(node.failure):
                raise SimulationFailed(f"seed {self.seed}: node {node.name} ended: {node.failure!r}") from node.failure

    async def _begin(self) -> None:
        for node in self.nodes.values():
            node.start()
        self._observer = self._connect(self.node_ids, _OBSERVER, namespace="observer", timeout_s=_STATUS_S)
        await self.wait_for_leader()

    @property
    def trace_hash(self) -> str:
        """Of all that happened up to now."""
        return self.trace.hash

    @property
    def now_s(self) -> float:
        """The virtual time."""
        return self.loop.now_s

    async def sleep(self, seconds: float) -> None:
        """Lets virtual time pass."""
        await asyncio.sleep(seconds)

    def _thread_s(self) -> float:
        process = current_process()
        node = self.nodes.get(process.name) if process is not None else None
        return node.machine.thread_s() if node is not None else 0.001

    # Clients.

    def endpoint(self, node_id: str) -> str:
        """Where clients reach this node."""
        return f"{node_id}:{CLIENT_PORT}"

    def connect(
        self,
        namespace: str = "demo",
        *,
        nodes: Collection[str] | None = None,
        consistency: Consistency = Consistency.LINEARIZABLE,
        timeout_s: float = TIMEOUT_S,
        actor: str = "",
        place: str = CLIENTS,
        schemas: Iterable[SchemaKnowledge] = (),
        observe: bool = True,
    ) -> Client:
        """A client that knows all nodes, or these to begin with: the real client library, on the simulated network.

        Args:
            place: where it is in the network; only what is at "clients" is part of partitions.
        """
        return self._connect(
            nodes or self.node_ids,
            place,
            namespace=namespace,
            consistency=consistency,
            timeout_s=timeout_s,
            actor=actor,
            schemas=schemas,
            observe=observe,
        )

    def _connect(
        self,
        nodes: Collection[str],
        place: str,
        *,
        namespace: str,
        timeout_s: float,
        consistency: Consistency = Consistency.LINEARIZABLE,
        actor: str = "",
        schemas: Iterable[SchemaKnowledge] = (),
        observe: bool = True,
    ) -> Client:
        outside = SimOutside(self.network, place, random.Random(self._source.random()))
        return Client(
            [self.endpoint(node_id) for node_id in nodes],
            namespace=namespace,
            tls=None,
            consistency=consistency,
            timeout_s=timeout_s,
            actor=actor,
            schemas=schemas,
            observe=observe,
            outside=outside,
        )

    # What it says.

    def others(self, *node_ids: str) -> tuple[str, ...]:
        """All nodes but these."""
        return tuple(node_id for node_id in self.node_ids if node_id not in node_ids)

    async def status(self, node_id: str) -> NodeStatus | None:
        """What a node says of itself, past all cuts; None if it does not answer."""
        if self._observer is None:
            raise RuntimeError("the cluster does not run")
        try:
            return await self._observer.status(self.endpoint(node_id), timeout_s=_STATUS_S)
        except TallystickError:
            return None

    async def statuses(self, among: Collection[str] | None = None) -> list[NodeStatus]:
        """Of all nodes that answer, or of these."""
        answers = await asyncio.gather(*(self.status(node_id) for node_id in among or self.node_ids))
        return [answer for answer in answers if answer is not None]

    async def leader(self, *, among: Collection[str] | None = None) -> str | None:
        """The leader that a majority of all follows, looking at these nodes only (None: all); None if there is none."""
        answers = await self.statuses(among)
        leaders = [answer for answer in answers if answer.role is Role.LEADER]
        for leader in sorted(leaders, key=lambda answer: answer.term, reverse=True)[:1]:
            following = [a for a in answers if a.leader_id == leader.node_id and a.term == leader.term]
            if len(following) > len(self.node_ids) // 2:
                return leader.node_id
        return None

    async def wait_for_leader(self, *, among: Collection[str] | None = None, within_s: float = START_S) -> str:
        """`leader`, as soon as there is one.

        Raises:
            AssertionError: there was none within the time.
        """
        return await eventually(
            lambda: self.leader(among=among), within_s=within_s, what="a leader that a majority follows"
        )

    async def wait_equal(self, *, among: Collection[str] | None = None, within_s: float = START_S) -> NodeStatus:
        """Waits until all nodes (or these) have applied the same, and checks that it led to the same; one's status.

        Raises:
            AssertionError: they did not within the time, or their states differ.
        """
        expected = len(among or self.node_ids)

        async def look() -> list[NodeStatus] | None:
            answers = await self.statuses(among)
            places = {(answer.applied_index, answer.commit_index) for answer in answers}
            is_equal = len(answers) == expected and len(places) == 1
            return answers if is_equal and answers[0].applied_index == answers[0].commit_index else None

        answers = await eventually(look, within_s=within_s, what="all nodes at one applied index")
        digests = {answer.state_digest for answer in answers}
        if len(digests) != 1:
            raise AssertionError(f"nodes differ at index {answers[0].applied_index}: {sorted(digests)}")
        return answers[0]

    # Up and down, with waiting.

    async def start(self, *node_ids: str) -> None:
        """Starts nodes that do not run, with the data that they had, and waits until they answer.

        Raises:
            AssertionError: they did not answer within `START_S`.
        """
        for node in self._known(node_ids):
            node.start()

        async def all_answer() -> bool:
            return len(await self.statuses(node_ids)) == len(node_ids)

        await eventually(all_answer, within_s=START_S, what=f"{', '.join(node_ids)} answer")

    async def stop(self, node_id: str) -> None:
        """Asks a node to end, frozen or not, and waits until it has."""
        (node,) = self._known([node_id])
        node.resume()
        node.stop()

        async def is_down() -> bool:
            return not node.is_up

        await eventually(is_down, within_s=START_S, what=f"{node_id} ends")

    async def restart(self, *node_ids: str) -> None:
        """Stops those of these nodes that run, one after the other, and starts all; they answer when this returns."""
        for node in self._known(node_ids):
            if node.is_up:
                await self.stop(node.name)
        await self.start(*node_ids)
