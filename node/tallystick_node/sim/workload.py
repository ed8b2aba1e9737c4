"""A workload for a seed: clients that append, compare and set, count, stream, read, checkpoint and watch; contexts
that come and go; holders of leases; agents that are forked; agents that pay each other; payloads that
are named; agents whose states and events have schemas; agents whose past goes; and agents that read each other.

Rules of this file:
- Everything asked and told is in a `History`; what it proves is for `judge.py` to say.
- A worker has a client of its own and waits for each answer, so that it has a session; what is asked at once, by a
  stream, is asked by processes of its own.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from tallystick import Client, Consistency, Revision, ops
from tallystick._agent import Agent
from tallystick._events import CheckpointEvent, ContextEvent, LeaseEvent, MutationEvent
from tallystick._values import Appended
from tallystick.errors import Conflict, TallystickError, Unavailable, Undecided
from tallystick.testing.history import Call, History
from tallystick.testing.watches import Event
from tallystick_node.sim import branches, causality, contexts, editing, leases, payloads, retention, schemas, teams
from tallystick_node.sim.branches import BranchRecords, Forker
from tallystick_node.sim.causality import CausalityRecords, Knower
from tallystick_node.sim.cluster import SimCluster
from tallystick_node.sim.contexts import ContextRecords
from tallystick_node.sim.editing import Editor, EditRecords, Edits
from tallystick_node.sim.keeping import Keeper
from tallystick_node.sim.leases import Holder, LeaseRecords
from tallystick_node.sim.payloads import PayloadRecords, Putter
from tallystick_node.sim.retention import RetentionRecords, Shedder
from tallystick_node.sim.roaming import Roamer
from tallystick_node.sim.schemas import Limited, SchemaRecords
from tallystick_node.sim.steps import STEPPERS, Stepper, StepRecords
from tallystick_node.sim.teams import Payer, TeamRecords

NAMESPACE: Final = "demo"
WORKERS: Final = 4
KEYS: Final = 2
"""Agents of each kind."""
PAUSE_S: Final = 0.15
"""Between two operations of a worker, on average."""
CALL_S: Final = 4.0
"""What a worker waits for an answer."""
_BATCH: Final = 4

_CONSISTENCIES: Final = (
    Consistency.LINEARIZABLE,
    Consistency.LINEARIZABLE,
    Consistency.SESSION,
    Consistency.LOCAL,
)
_WORDS: Final[dict[Consistency, Literal["linearizable", "session", "local"]]] = {
    Consistency.LINEARIZABLE: "linearizable",
    Consistency.SESSION: "session",
    Consistency.LOCAL: "local",
}


@dataclass
class Records:
    """What was asked and told.

    Attributes:
        history: operations; the keys `list-*`, `count-*` and `cell-*` are agents.
        acknowledged: agent and element of each append that was acknowledged.
        checkpoints: agent and name of each checkpoint that was acknowledged.
        watched: what the watch gave of agents, in order.
        contexts: of contexts, as they are decided.
        leases: of agents that have an owner.
        steps: of agents that do things once.
        teams: of agents that pay each other.
        payloads: of agents that name payloads.
        schemas: of agents whose states and events have schemas.
        retention: of agents whose past goes.
        causality: of agents that read each other.
        edits: of those that are edited, by guid.
        branches: of agents that are forked.
    """

    history: History = field(default_factory=History)
    acknowledged: list[tuple[str, str]] = field(default_factory=list)
    checkpoints: list[tuple[str, str]] = field(default_factory=list)
    watched: list[Event] = field(default_factory=list)
    contexts: ContextRecords = field(default_factory=ContextRecords)
    leases: LeaseRecords = field(default_factory=LeaseRecords)
    steps: StepRecords = field(default_factory=StepRecords)
    teams: TeamRecords = field(default_factory=TeamRecords)
    payloads: PayloadRecords = field(default_factory=PayloadRecords)
    schemas: SchemaRecords = field(default_factory=SchemaRecords)
    retention: RetentionRecords = field(default_factory=RetentionRecords)
    causality: CausalityRecords = field(default_factory=CausalityRecords)
    edits: Edits = field(default_factory=lambda: defaultdict(EditRecords))
    branches: BranchRecords = field(default_factory=BranchRecords)


class Workload:
    """The workload of one cluster; `run` it, and look at `records`."""

    def __init__(self, cluster: SimCluster, seconds: float) -> None:
        self._cluster = cluster
        self._ends_s = cluster.now_s + seconds
        self.records = Records()
        self._roamer: Roamer | None = None
        if cluster.has_contexts and cluster.folder is not None:
            rng = random.Random(cluster.rng.random())
            self._roamer = Roamer(cluster, self.records.edits, rng, cluster.folder)

    async def come_back(self) -> None:
        """Who was offline comes back, once all is healed."""
        if self._roamer is not None:
            await self._roamer.come_back()

    async def run(self) -> None:
        """Runs all workers until the time is over."""
        async with asyncio.TaskGroup() as workers:
            for number in range(WORKERS):
                rng = random.Random(self._cluster.rng.random())
                workers.create_task(self._work(f"worker-{number}", rng))
            for number in range(leases.HOLDERS + 1):
                rng = random.Random(self._cluster.rng.random())
                workers.create_task(self._own(f"holder-{number}", rng, knows_leases=number < leases.HOLDERS))
            for number in range(STEPPERS):
                rng = random.Random(self._cluster.rng.random())
                workers.create_task(self._do_once(f"stepper-{number}", rng))
            for number in range(branches.FORKERS):
                rng = random.Random(self._cluster.rng.random())
                workers.create_task(self._fork(f"forker-{number}", rng))
            for number in range(teams.PAYERS):
                rng = random.Random(self._cluster.rng.random())
                workers.create_task(self._pay(f"payer-{number}", rng))
            for number in range(payloads.PUTTERS):
                rng = random.Random(self._cluster.rng.random())
                workers.create_task(self._store(f"putter-{number}", rng))
            for number in range(schemas.WRITERS):
                rng = random.Random(self._cluster.rng.random())
                workers.create_task(self._limit(f"limited-{number}", rng))
            for number in range(retention.SHEDDERS):
                rng = random.Random(self._cluster.rng.random())
                workers.create_task(self._shed(f"shedder-{number}", rng))
            for number in range(causality.KNOWERS):
                rng = random.Random(self._cluster.rng.random())
                knower = Knower(self._cluster, self.records.causality, f"{causality.PREFIX}{number}", rng)
                workers.create_task(knower.run(self._ends_s))
            if self._cluster.has_contexts:
                guid = self._cluster.rng.randbytes(16)
                self.records.contexts.asked[guid] = editing.NAME
                for number in range(editing.EDITORS):
                    rng = random.Random(self._cluster.rng.random())
                    workers.create_task(self._share(f"editor-{number}", guid, rng))
                if self._roamer is not None:
                    workers.create_task(self._roamer.run(self._ends_s))
                workers.create_task(self._keep(random.Random(self._cluster.rng.random())))

    async def watch(self) -> None:
        """Watches everything from the beginning on, until it is cancelled."""
        async with self._cluster.connect(NAMESPACE, timeout_s=CALL_S, actor="watcher") as client:
            async for event in client.watch(after=Revision(1, 0)):
                if branches.is_forked(event):
                    self.records.branches.watched.append(event)
                elif payloads.is_let_go(event):
                    continue
                elif isinstance(event, MutationEvent):
                    self.records.watched.append(watched_mutation(event.agent, event.mutation.revision.position))
                elif isinstance(event, CheckpointEvent):
                    self.records.watched.append(watched_checkpoint(event.agent, event.checkpoint.revision.position))
                elif isinstance(event, LeaseEvent):
                    self.records.leases.watched.append(event)
                elif isinstance(event, ContextEvent):
                    self.records.contexts.watched.append(event)

    async def _own(self, name: str, rng: random.Random, *, knows_leases: bool) -> None:
        async with self._cluster.connect(NAMESPACE, timeout_s=CALL_S, actor=name) as client:
            holder = Holder(self._cluster, self.records.leases, name, rng)
            await (holder.run if knows_leases else holder.run_without)(client, self._ends_s)

    async def _do_once(self, name: str, rng: random.Random) -> None:
        async with self._cluster.connect(NAMESPACE, timeout_s=CALL_S, actor=name) as client:
            await Stepper(self.records.steps, client, name, rng).run(self._cluster, self._ends_s)

    async def _fork(self, name: str, rng: random.Random) -> None:
        async with self._cluster.connect(NAMESPACE, timeout_s=CALL_S, actor=name) as client:
            await Forker(self._cluster, self.records.branches, name, rng).run(client, self._ends_s)

    async def _pay(self, name: str, rng: random.Random) -> None:
        async with self._cluster.connect(NAMESPACE, timeout_s=CALL_S, actor=name) as client:
            await Payer(self.records.teams, client, name, rng).run(self._cluster, self._ends_s)

    async def _store(self, name: str, rng: random.Random) -> None:
        async with self._cluster.connect(NAMESPACE, timeout_s=CALL_S, actor=name) as client:
            await Putter(self._cluster, self.records.payloads, client, name, rng).run(self._ends_s)

    async def _limit(self, name: str, rng: random.Random) -> None:
        async with self._cluster.connect(NAMESPACE, timeout_s=CALL_S, actor=name) as client:
            await Limited(self._cluster, self.records.schemas, client, rng).run(self._ends_s)

    async def _shed(self, name: str, rng: random.Random) -> None:
        async with self._cluster.connect(retention.NAMESPACE, timeout_s=CALL_S, actor=name) as client:
            await Shedder(self._cluster, self.records.retention, client, name, rng).run(self._ends_s)

    async def _share(self, name: str, guid: bytes, rng: random.Random) -> None:
        async with self._cluster.connect(NAMESPACE, timeout_s=CALL_S, actor=name) as client:
            while not await contexts.create_as(client, self.records.contexts, guid, editing.NAME):
                await asyncio.sleep(rng.expovariate(1 / PAUSE_S))
                if self._cluster.now_s > self._ends_s:
                    return
            await Editor(self._cluster, self.records.edits, name, rng).run(client, self._ends_s)

    async def _keep(self, rng: random.Random) -> None:
        async with self._cluster.connect(NAMESPACE, timeout_s=CALL_S, actor="keeper") as client:
            await Keeper(self._cluster, self.records.contexts, rng).run(client, self._ends_s)

    async def _work(self, name: str, rng: random.Random) -> None:
        async with self._cluster.connect(NAMESPACE, timeout_s=CALL_S, actor=name) as client:
            worker = _Worker(self._cluster, self.records, client, name, rng)
            while self._cluster.now_s < self._ends_s:
                await asyncio.sleep(rng.expovariate(1 / PAUSE_S))
                await worker.act()


def watched_mutation(agent: str, revision: int) -> Event:
    """A mutation as the check of watches knows it."""
    return Event(revision, agent, "mutation")


def watched_checkpoint(agent: str, revision: int) -> Event:
    """A checkpoint likewise."""
    return Event(revision, agent, "checkpoint")


class _Worker:
    """One client of the workload."""

    def __init__(self, cluster: SimCluster, records: Records, client: Client, name: str, rng: random.Random) -> None:
        self._cluster = cluster
        self._records = records
        self._client = client
        self._name = name
        self._rng = rng
        self._count = 0

    async def act(self) -> None:
        """One operation, or one stream of a few."""
        action: Callable[[], Awaitable[None]] = self._rng.choices(
            (
                self._append,
                self._increment,
                self._compare_and_set,
                self._read,
                self._checkpoint,
                self._stream,
                self._context,
            ),
            (4, 3, 3, 6, 1, 1, 3),
        )[0]
        await action()

    async def _append(self) -> None:
        agent, element = self._agent("list"), self._element()
        call = self._records.history.begin(self._name, agent.name, "append", element, at_s=self._cluster.now_s)
        appended = await self._told(call, agent.append(ops.append("/log", element)))
        if appended is not None:
            call.ok(at_s=self._cluster.now_s, result=appended.seq, revision=appended.revision.position)
            self._records.acknowledged.append((agent.name, element))

    async def _increment(self) -> None:
        agent = self._agent("count")
        call = self._records.history.begin(self._name, agent.name, "increment", 1, at_s=self._cluster.now_s)
        appended = await self._told(call, agent.append(ops.increment("/n", 1)))
        if appended is not None:
            call.ok(at_s=self._cluster.now_s, result=appended.seq, revision=appended.revision.position)

    async def _compare_and_set(self) -> None:
        agent, element = self._agent("cell"), self._element()
        try:
            seen = await agent.rehydrate(tail=0)
        except TallystickError:
            return
        known = seen.state.get("v") if isinstance(seen.state, dict) else None
        begun_s = self._cluster.now_s
        call = self._records.history.begin(self._name, agent.name, "cas", [known, element], at_s=begun_s)
        try:
            appended = await self._told(call, agent.append(ops.set("/v", element), expected_seq=seen.seq))
        except Conflict:
            call.ok(at_s=self._cluster.now_s, result=False)
            return
        if appended is not None:
            call.ok(at_s=self._cluster.now_s, result=True, revision=appended.revision.position)

    async def _read(self) -> None:
        kind = self._rng.choice(("list", "count", "cell"))
        await read(self._cluster, self._records, self._agent(kind), self._name, self._rng.choice(_CONSISTENCIES))

    async def _checkpoint(self) -> None:
        agent, name = self._agent("list"), f"checkpoint-{self._element()}"
        try:
            await agent.checkpoint(name)
        except TallystickError:
            return
        self._records.checkpoints.append((agent.name, name))

    async def _context(self) -> None:
        await contexts.act(self._client, self._records.contexts, self._name, self._rng)

    async def _stream(self) -> None:
        agent = self._agent("list")
        elements = [self._element() for _ in range(_BATCH)]
        calls = [
            self._records.history.begin(
                f"{self._name}-{element}", agent.name, "append", element, at_s=self._cluster.now_s
            )
            for element in elements
        ]
        try:
            async with agent.stream(timeout_s=CALL_S) as stream:
                pending = [await stream.append(ops.append("/log", element)) for element in elements]
                for element, call, each in zip(elements, calls, pending, strict=True):
                    appended = await self._told(call, each.result())
                    if appended is not None:
                        call.ok(at_s=self._cluster.now_s, result=appended.seq, revision=appended.revision.position)
                        self._records.acknowledged.append((agent.name, element))
        except TallystickError:
            return  # what was handed in and not answered stays undecided

    async def _told(self, call: Call, asked: Awaitable[Appended]) -> Appended | None:
        try:
            return await asked
        except Undecided:
            call.undecided(at_s=self._cluster.now_s)
        except Unavailable:
            call.failed(at_s=self._cluster.now_s)
        return None

    def _agent(self, kind: str) -> Agent:
        return self._client.agent(f"{kind}-{self._rng.randrange(KEYS)}")

    def _element(self) -> str:
        self._count += 1
        return f"{self._name}.{self._count}"


async def read(cluster: SimCluster, records: Records, agent: Agent, process: str, consistency: Consistency) -> None:
    """Reads an agent into the history."""
    call = records.history.begin(process, agent.name, "read", at_s=cluster.now_s, consistency=_WORDS[consistency])
    try:
        seen = await agent.rehydrate(tail=0, consistency=consistency)
    except Unavailable:
        call.failed(at_s=cluster.now_s)
        return
    state = seen.state if isinstance(seen.state, dict) else {}
    kind = agent.name.partition("-")[0]
    result = state.get("log", []) if kind == "list" else state.get("n", 0) if kind == "count" else state.get("v")
    call.ok(at_s=cluster.now_s, result=result, revision=seen.revision.position)
