"""Who puts payloads in a seed's workload, names them in agents, and lets go of them; and what must hold of it.

Rules of this file:
- Chunks are of few words, so that payloads share them; some payloads are named late, or never, and time is short: so
  the collection races with those who name what it takes.
- A putter has agents of its own. What it is told to be named is there, whole, for as long as the agent is.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tallystick import JSON, CheckpointEvent, Client, Consistency, DecidedMutation, Event, MutationEvent, ops
from tallystick.errors import Conflict, NotFound, Reason, TallystickError
from tallystick_node.core import limits
from tallystick_node.core.manifests import chunks_of
from tallystick_node.core.payload_names import payloads_named
from tallystick_node.sim.cluster import SimCluster
from tallystick_node.sim.payload_calls import PayloadCalls

PREFIX: Final = "payloads-"
PUTTERS: Final = 2
GRACE_S: Final = 2.0
"""How long what nothing names stays, in these seeds."""
GONE_S: Final = 30.0
"""What nothing names is gone by then, once everything is healed."""
LATER_S: Final = 10 * 86400.0
"""How far all clocks are put forward before that: by one that was ahead, something may have been touched."""
PAUSE_S: Final = 0.3
"""Between two things that a putter does, on average."""
_WORDS: Final = 12
_CHUNKS: Final = 4
"""Of a payload, at most."""


@dataclass
class PayloadRecords:
    """What was told.

    Attributes:
        named: by agent, the payloads that it was told to name, by id: their bytes.
        wrong: answers that were wrong by themselves.
    """

    named: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


class Putter:
    """A program of the workload."""

    def __init__(self, cluster: SimCluster, records: PayloadRecords, client: Client, name: str, rng: random.Random):
        self._cluster = cluster
        self._records = records
        self._client = client
        self._calls = PayloadCalls(client)
        self._name = name
        self._rng = rng
        self._agents = 0

    async def run(self, ends_s: float) -> None:
        """Puts, names, gets and lets go until the time is over."""
        while self._cluster.now_s < ends_s:
            await asyncio.sleep(self._rng.expovariate(1 / PAUSE_S))
            act = self._rng.choices((self._put, self._get, self._let_go, self._name_nothing), (6, 3, 1, 1))[0]
            try:
                await act()
            except TallystickError:
                continue

    @property
    def _agent(self) -> str:
        return f"{PREFIX}{self._name}-{self._agents}"

    async def _put(self) -> None:
        chunks = [b"word %d" % self._rng.randrange(_WORDS) for _ in range(self._rng.randrange(_CHUNKS + 1))]
        try:
            payload_id = await self._calls.put(chunks)
        except Conflict as error:
            if error.reason is Reason.CHUNK_MISSING:  # one was collected since it was asked for
                return
            raise
        fate = self._rng.choices(("at once", "late", "never"), (6, 2, 2))[0]
        if fate == "never":
            return
        if fate == "late":
            await asyncio.sleep(self._rng.uniform(0, 2 * GRACE_S))
        await self._name_it(payload_id, b"".join(chunks))

    async def _name_it(self, payload_id: bytes, content: bytes) -> None:
        agent = self._client.agent(self._agent)
        named: JSON = {"kept": [{"$payload": payload_id.hex(), "size_bytes": len(content)}]}
        match self._rng.randrange(3):
            case 0:
                await agent.append(ops.set(f"/{self._rng.randrange(3)}", named))
            case 1:
                await agent.record("seen", named)
            case _:
                await agent.append(ops.set("/n", 1))
                await agent.checkpoint(f"c{self._rng.randrange(1_000_000)}", metadata={"of": named})
        self._records.named.setdefault(agent.name, {})[payload_id] = content

    async def _name_nothing(self) -> None:
        """What was never put."""
        nothing: JSON = {"$payload": self._rng.randbytes(32).hex()}
        try:
            await self._client.agent(self._agent).append(ops.set("/nothing", nothing))
        except NotFound:
            return
        self._records.wrong.append(f"{self._agent} names a payload that was never put")

    async def _get(self) -> None:
        """What an agent names is there, at whichever node."""
        named = self._records.named.get(self._agent)
        if not named:
            return
        agent = self._agent
        payload_id, content = self._rng.choice(sorted(named.items()))
        try:
            parts = await self._calls.get(payload_id, Consistency.SESSION)
        except NotFound as error:
            self._records.wrong.append(f"{agent} names a payload, and it is gone: {error}")
            return
        found = b"".join(part.data for part in parts)
        if found != content:
            self._records.wrong.append(f"payload {payload_id.hex()} is {found!r}, and was {content!r}")

    async def _let_go(self) -> None:
        """All that the agent names; nobody knows how far it came if this is not answered."""
        agent, self._agents = self._agent, self._agents + 1
        self._records.named.pop(agent, None)
        await self._client.agent(agent).delete()


def is_let_go(event: Event) -> bool:
    """Of an agent that may be deleted: what was watched of it is not in its log any more."""
    return isinstance(event, (MutationEvent, CheckpointEvent)) and event.agent.startswith(PREFIX)


async def broken(
    cluster: SimCluster, client: Client, records: PayloadRecords, living: Sequence[str], within_s: float
) -> list[str]:
    """What does not hold, once everything is healed and all nodes are equal."""
    named = await _named(client)
    complaints = [*records.wrong]
    for agent, told in records.named.items():
        complaints += [f"{agent} was told to name {each.hex()}" for each in told if each not in named.get(agent, {})]
    counted: Counter[bytes] = Counter()
    for places in named.values():
        counted.update(places)
    seen = [await _seen(cluster, client.namespace, node) for node in living]
    if any(each != seen[0] for each in seen):
        complaints.append("nodes differ in what they know of payloads")
    complaints += _compare(counted, {each: count for each, (count, _, _) in seen[0].items()})
    for told in records.named.values():
        for payload_id, content in told.items():
            if await _content(client, payload_id) != content:
                complaints.append(f"payload {payload_id.hex()} is not what was put")
    return complaints or await _all_gone(cluster, client, counted, within_s)


def _compare(counted: Counter[bytes], listed: dict[bytes, int]) -> Iterable[str]:
    for payload_id, count in counted.items():
        if listed.get(payload_id) != count:
            found = listed.get(payload_id, "gone")
            yield f"payload {payload_id.hex()[:8]} is named {count} times, and has {found} references"
    for payload_id in listed.keys() - counted.keys():
        if listed[payload_id]:
            yield f"payload {payload_id.hex()[:8]} is named nowhere, and has {listed[payload_id]} references"


async def _named(client: Client) -> dict[str, Counter[bytes]]:
    """How many places of each log name which payloads, as the logs themselves say."""
    found: dict[str, Counter[bytes]] = {}
    async for info in client.agents(prefix=PREFIX):
        agent = client.agent(info.name)
        places = {(mutation.seq, each) async for mutation in agent.log() for each in _of(mutation)}
        async for checkpoint in agent.checkpoints():
            places |= {(checkpoint.seq, each) for each in payloads_named(json.dumps(checkpoint.metadata).encode())}
        found[info.name] = Counter(each for _, each in places)
    return found


def _of(mutation: DecidedMutation) -> tuple[bytes, ...]:
    values = [mutation.payload, *(operation.value for operation in mutation.operations)]
    return payloads_named(*[json.dumps(value).encode() for value in values])


async def _seen(cluster: SimCluster, namespace: str, node: str) -> dict[bytes, tuple[int, int, int]]:
    """References, size and last touch of each payload, as that node has it."""
    async with cluster.connect(namespace, nodes=[node]) as local:
        listed, _ = await PayloadCalls(local).list_all(Consistency.LOCAL)
    return {each.id: (each.references, each.size_bytes, each.touched_unix_ms) for each in listed}


async def _content(client: Client, payload_id: bytes) -> bytes | None:
    """What is in it; None: it is gone."""
    calls = PayloadCalls(client)
    while True:
        try:
            parts = await calls.get(payload_id, Consistency.LINEARIZABLE)
        except NotFound:
            return None
        except TallystickError:  # this node is not among the living: another one is asked
            await asyncio.sleep(PAUSE_S)
        else:
            return b"".join(part.data for part in parts)


async def _all_gone(cluster: SimCluster, client: Client, counted: Counter[bytes], within_s: float) -> list[str]:
    """What nothing names goes, with its chunks."""
    calls = PayloadCalls(client)
    ends_s = cluster.now_s + within_s
    for node in cluster.node_ids:
        cluster.jump_clock(node, LATER_S)
    while True:
        listed, stored_bytes = await calls.list_all(Consistency.LINEARIZABLE)
        named_bytes = await _cost_bytes(calls, [each.id for each in listed])
        if {each.id for each in listed} == set(counted) and stored_bytes == named_bytes:
            return []
        if cluster.now_s > ends_s:
            left = [each.id.hex()[:8] for each in listed if each.id not in counted]
            return [f"payloads {left} go not, {stored_bytes} bytes are stored and {named_bytes} are named"]
        await asyncio.sleep(GRACE_S)


async def _cost_bytes(calls: PayloadCalls, ids: Iterable[bytes]) -> int | None:
    """What these payloads count for, and their chunks; None: one of them is gone."""
    try:
        manifests = [(await calls.describe(each, Consistency.LINEARIZABLE)).manifest for each in ids]
    except NotFound:  # since it was listed
        return None
    chunks = {ref for manifest in manifests for ref in chunks_of(manifest)}
    chunk_bytes = sum(ref.size_bytes + limits.PAYLOAD_OVERHEAD_BYTES for ref in chunks)
    return chunk_bytes + sum(len(manifest) + limits.PAYLOAD_OVERHEAD_BYTES for manifest in manifests)
