"""Agents whose past goes while they are at work: what their programs ask and are told, and what must hold of it.

Rules of this file:
- They have a namespace of their own, so that nobody else's history goes. What it keeps is little, and changes.
- Every element of a state was appended by one request: it counts 1, however often it was asked for, and whatever went
  between. What was told of a seq, of a step or of a key is told again, or is said to have gone.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tallystick import JSON, Agent, Client, Consistency, RetentionPolicy, ops
from tallystick.errors import Compacted, NotFound, TallystickError
from tallystick.history import Chain, beginning
from tallystick_node.sim.cluster import SimCluster

NAMESPACE: Final = "past"
SHEDDERS: Final = 2
AGENTS: Final = 2
BRANCHES: Final = ("main", "main", "main", "one", "two")
EVERY_S: Final = 1.0
"""How often the leader looks what may go, in these seeds."""
PAUSE_S: Final = 0.15
"""Between two things that a program does, on average."""
_RUNS_END_S: Final = 10.0
"""Within which runs have ended that began under a policy that was taken back: then nobody compacts beside the judge."""
_STEPS: Final = 6
_TTL_S: Final = 5.0
_KEYS: Final = 50
"""Requests that may be asked again; fewer than a log remembers."""

_Place = tuple[str, str]


class Told(NamedTuple):
    """An append that was answered: what was asked, and what it led to."""

    place: _Place
    key: str
    element: str
    seq: int
    hash: bytes


@dataclass
class RetentionRecords:
    """What was told.

    Attributes:
        told: of appends, in the order of the answers.
        steps: by agent and branch, and name: what a step returned.
        wrong: answers that were wrong by themselves.
    """

    told: list[Told] = field(default_factory=list)
    steps: dict[tuple[_Place, str], JSON] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


class Shedder:
    """A program of the workload."""

    def __init__(self, cluster: SimCluster, records: RetentionRecords, client: Client, name: str, rng: random.Random):
        self._cluster = cluster
        self._records = records
        self._client = client
        self._name = name
        self._rng = rng
        self._count = 0

    async def run(self, ends_s: float) -> None:
        """Works until the time is over."""
        acts = (
            (self._append, 10),
            (self._again, 4),
            (self._checkpoint, 5),
            (self._look_back, 5),
            (self._fork, 2),
            (self._drop, 1),
            (self._step, 3),
            (self._turn, 2),
            (self._own, 2),
            (self._retain, 1),
        )
        with suppress(TallystickError):
            await self._retain()
        while self._cluster.now_s < ends_s:
            await asyncio.sleep(self._rng.expovariate(1 / PAUSE_S))
            (act,) = self._rng.choices([act for act, _ in acts], [weight for _, weight in acts])
            try:
                await act()
            except TallystickError:
                continue

    def _agent(self) -> Agent:
        return self._client.agent(f"past-{self._rng.randrange(AGENTS)}", branch=self._rng.choice(BRANCHES))

    def _element(self) -> str:
        self._count += 1
        return f"{self._name}.{self._count}"

    async def _append(self) -> None:
        await self._appended(self._agent(), self._element())

    async def _appended(self, agent: Agent, element: str) -> None:
        done = await agent.append(ops.increment(f"/seen/{element}"), idempotency_key=element)
        self._records.told.append(Told((agent.name, agent.branch), element, element, done.seq, done.hash))

    async def _again(self) -> None:
        """A request that was answered, once more: it is answered as then, though what it wrote may be gone."""
        if not self._records.told:
            return
        told = self._rng.choice(self._records.told[-_KEYS:])
        agent = self._client.agent(told.place[0], branch=told.place[1])
        done = await agent.append(ops.increment(f"/seen/{told.element}"), idempotency_key=told.key)
        if (done.seq, done.hash) != (told.seq, told.hash) and agent.branch == "main":
            self._wrong(agent, f"{told.element} was told to be at {told.seq}, and then at {done.seq}")

    async def _checkpoint(self) -> None:
        agent, name = self._agent(), f"c-{self._element()}"
        await agent.checkpoint(name)
        if self._rng.random() < 0.6:
            await agent.pin(name)
        elif self._rng.random() < 0.2:
            pinned = [taken.name async for taken in agent.checkpoints() if taken.is_pinned]
            await agent.unpin(self._rng.choice(pinned or [name]))

    async def _look_back(self) -> None:
        """A state that is not kept is said to be gone, and where what is kept begins; any other is what it was."""
        told = [each for each in self._records.told if each.place[1] == "main"]
        if not told:
            return
        one = self._rng.choice(told)
        agent = self._client.agent(one.place[0])
        try:
            found = await agent.read(seq=one.seq, consistency=Consistency.SESSION)
        except Compacted as error:
            if int(error.metadata["oldest_seq"]) <= one.seq:
                self._wrong(agent, f"seq {one.seq} is gone, and what is kept begins at {error.metadata['oldest_seq']}")
            return
        if found.hash != one.hash or _seen(found.state).get(one.element) != 1:
            self._wrong(agent, f"the state at {one.seq} is not what was told")

    async def _fork(self) -> None:
        agent = self._agent()
        at = self._rng.choice([None, *[each.seq for each in self._records.told[-_KEYS:]]])
        await agent.fork(self._rng.choice(("one", "two")), at=at)

    async def _drop(self) -> None:
        agent = self._agent()
        if agent.branch != "main":
            self._records.told = [each for each in self._records.told if each.place != (agent.name, agent.branch)]
            self._records.steps = {
                at: told for at, told in self._records.steps.items() if at[0] != (agent.name, agent.branch)
            }
            await agent.delete_branch()

    async def _step(self) -> None:
        """What a completed step returned, it returns for ever."""
        agent, name = self._client.agent(f"past-{self._rng.randrange(AGENTS)}"), f"s-{self._rng.randrange(_STEPS)}"
        result = await agent.step(name, self._element, on_ambiguous="retry", on_failed="retry")
        told = self._records.steps.setdefault(((agent.name, agent.branch), name), result)
        if told != result:
            self._wrong(agent, f"step {name} returned {told}, and then {result}")

    async def _turn(self) -> None:
        """Who resumes at the last turn finds the state there, and all that came since."""
        agent = self._client.agent(f"past-{self._rng.randrange(AGENTS)}")
        async with agent.turn(on_open="abandon"):
            await self._appended(agent, self._element())
            await self._resume(agent)
        await self._resume(agent)

    async def _resume(self, agent: Agent) -> None:
        try:
            await agent.rehydrate(at_turn=True)
        except Compacted as error:
            self._wrong(agent, f"its last turn is gone: {error}")

    async def _own(self) -> None:
        """Who holds the lease finds its newest checkpoint, and all that came since."""
        agent = self._agent()
        name = f"o-{self._element()}"
        async with agent.lease(ttl_s=_TTL_S, wait_s=0.0):
            taken = await agent.checkpoint(name)
            for _ in range(3):
                await self._appended(agent, self._element())
                await asyncio.sleep(self._rng.expovariate(1 / EVERY_S))
                newest = await agent.rehydrate(tail=1000)
                if newest.checkpoint is not None and newest.checkpoint.name == name:
                    seqs = [mutation.seq for mutation in newest.tail]
                    if seqs != list(range(taken.seq + 1, newest.seq + 1)):
                        self._wrong(agent, f"who holds its lease lacks what came after {taken.seq}: {seqs}")

    async def _retain(self) -> None:
        await self._client.retention.set(RetentionPolicy(max_mutations=self._rng.choice((1, 2, 8))))

    def _wrong(self, agent: Agent, what: str) -> None:
        self._records.wrong.append(f"{agent.name}, branch {agent.branch}: {what}")


def _seen(state: JSON) -> dict[str, JSON]:
    seen = state.get("seen") if isinstance(state, dict) else None
    return seen if isinstance(seen, dict) else {}


async def broken(cluster: SimCluster, records: RetentionRecords, living: Iterable[str]) -> list[str]:
    """What does not hold, once everything is healed and all nodes are equal."""
    complaints = list(records.wrong)
    async with cluster.connect(NAMESPACE, timeout_s=30.0, actor="judge") as client:
        await client.retention.set(RetentionPolicy())
        await asyncio.sleep(_RUNS_END_S)
        async for info in client.agents():
            async for branch in client.agent(info.name).branches():
                agent = client.agent(info.name, branch=branch.name)
                what = [*await _of_log(agent, records), *await _of_nodes(cluster, agent, living)]
                complaints += [f"{agent.name}, branch {agent.branch}: {each}" for each in what]
        complaints += await _of_steps(client, records)
    return complaints


async def _of_log(agent: Agent, records: RetentionRecords) -> list[str]:
    """What is kept leads on from where it begins to the head; nothing that was told is lost, or there twice."""
    first = await beginning(agent)
    chain = Chain() if first is None else Chain(seq=first.seq, head=first.hash)
    async for mutation in agent.log(after_seq=chain.seq, raw=True):
        chain.follow(mutation)
    head = await agent.read()
    complaints = [] if chain.head == head.hash else ["the chain of what is kept does not lead to the head"]
    seen = _seen(head.state)
    complaints += [f"{element} counts {count}" for element, count in seen.items() if count != 1]
    told = [each for each in records.told if each.place == (agent.name, agent.branch)]
    complaints += [f"{each.element} was told at {each.seq}, and is lost" for each in told if each.element not in seen]
    async for taken in agent.checkpoints():
        try:
            found = await agent.state_digest(checkpoint=taken.name)
        except Compacted:
            if taken.is_pinned:
                complaints.append(f"checkpoint {taken.name} is pinned, and its state is gone")
            continue
        if (found.digest, found.hash) != (taken.state_digest, taken.hash):
            complaints.append(f"checkpoint {taken.name} is of another state than was kept")
    return complaints


async def _of_nodes(cluster: SimCluster, agent: Agent, living: Iterable[str]) -> list[str]:
    """All nodes keep the same of it."""
    found = set()
    for node in living:
        async with cluster.connect(NAMESPACE, nodes=[node]) as local:
            here = local.agent(agent.name, branch=agent.branch)
            log = [(each.seq, each.hash) async for each in here.log(consistency=Consistency.LOCAL)]
            seq = log[0][0] - 1 if log else (await here.state_digest(consistency=Consistency.LOCAL)).seq
            first = await here.state_digest(seq=seq, consistency=Consistency.LOCAL)
            found.add((tuple(log), first.seq, first.hash, first.digest))
    return [] if len(found) <= 1 else ["nodes keep different parts of it, or different states"]


async def _of_steps(client: Client, records: RetentionRecords) -> list[str]:
    complaints = []
    for (place, name), told in records.steps.items():
        try:
            found: JSON = (await client.agent(place[0], branch=place[1]).steps.get(name)).result
        except NotFound:
            found = "gone"
        if found != told:
            complaints.append(f"{place[0]}: step {name} returned {told}, and is {found}")
    return complaints
