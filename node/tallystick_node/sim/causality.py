"""Who reads others and writes in a seed's workload, and what must hold of what was known.

Rules of this file:
- A knower writes into each of its mutations what it had read, by its own count: what its client tells is compared
  with that.
- Now and then it begins anew with another client, which has read nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tallystick import CausalRelation, Client, Consistency, DecidedMutation, LogPoint, Observed, ObservedLog
from tallystick.errors import TallystickError, Unavailable
from tallystick_node.sim.cluster import SimCluster

PREFIX: Final = "knower-"
KNOWERS: Final = 3
PAUSE_S: Final = 0.4
"""Between two things that a knower does, on average."""
_COMPARED: Final = 30
"""Pairs that are compared in the end."""
_NAMESPACE: Final = "demo"
_CALL_S: Final = 4.0

Read: TypeAlias = dict[str, int]
"""By agent, up to which seq."""


@dataclass
class CausalityRecords:
    """What was told. `wrong`: answers that were wrong by themselves."""

    wrong: list[str] = field(default_factory=list)


class Knower:
    """A program of the workload, with an agent of its own."""

    def __init__(self, cluster: SimCluster, records: CausalityRecords, name: str, rng: random.Random) -> None:
        self._cluster = cluster
        self._records = records
        self._name = name
        self._rng = rng
        self._read: Read = {}

    async def run(self, ends_s: float) -> None:
        """Reads and writes until the time is over."""
        while self._cluster.now_s < ends_s:
            self._read = {}
            async with self._cluster.connect(_NAMESPACE, timeout_s=_CALL_S, actor=self._name) as client:
                for _ in range(self._rng.randint(5, 40)):
                    await asyncio.sleep(self._rng.expovariate(1 / PAUSE_S))
                    if self._cluster.now_s > ends_s:
                        return
                    act = self._rng.choices((self._look, self._write, self._ask), (5, 5, 1))[0]
                    try:
                        await act(client)
                    except TallystickError:
                        continue

    async def _look(self, client: Client) -> None:
        name = f"{PREFIX}{self._rng.randrange(KNOWERS)}"
        seen = await client.agent(name).rehydrate(tail=0, consistency=self._rng.choice([*Consistency]))
        if name != self._name and seen.seq:
            self._read[name] = max(seen.seq, self._read.get(name, 0))

    async def _write(self, client: Client) -> None:
        await client.agent(self._name).record("knew", {**self._read})

    async def _ask(self, client: Client) -> None:
        """What was read is not ahead of what there is."""
        changes = await client.changed()
        for each in changes.logs:
            if each.kind != "more" or each.seq <= each.seen_seq:
                self._records.wrong.append(f"{each.agent} is told to be {each.kind}: {each.seq}, read {each.seen_seq}")


async def broken(cluster: SimCluster, client: Client, records: CausalityRecords, living: Sequence[str]) -> list[str]:
    """What does not hold of what was known."""
    logs = {name: log for name in (f"{PREFIX}{at}" for at in range(KNOWERS)) if (log := await _log(client, name))}
    complaints = [*records.wrong]
    for name, log in logs.items():
        complaints += _ill_told(name, log)
    known = _closure(logs)
    rng = random.Random(len(known))
    points = sorted(known)
    for _ in range(_COMPARED if points else 0):
        a, b = rng.choice(points), rng.choice(points)
        complaints += await _compared(cluster, rng.choice(living), a, b, _relation(known, a, b))
    heads = Observed(tuple([ObservedLog(name, log[-1].seq, hash=log[-1].hash) for name, log in logs.items()]))
    if await client.changed(heads):
        complaints.append("what was read to its end has changed, and nobody writes")
    return complaints


async def _log(client: Client, name: str) -> list[DecidedMutation]:
    try:
        return [each async for each in client.agent(name).log()]
    except TallystickError as error:
        if isinstance(error, Unavailable):
            raise
        return []  # it never came to write


def _ill_told(name: str, log: Sequence[DecidedMutation]) -> Iterator[str]:
    """What all mutations up to one carry is what its writer says that it had read, and not more than any said."""
    carried: Read = {}
    said: Read = {}
    for entry in log:
        truth = entry.payload if isinstance(entry.payload, dict) else {}
        for each in (entry.mutation.observed or Observed()).logs:
            carried[each.agent] = max(each.seq, carried.get(each.agent, 0))
        for agent, seq in truth.items():
            said[agent] = max(seq, said.get(agent, 0)) if isinstance(seq, int) else 0
            if carried.get(agent, 0) < said[agent]:
                yield f"{name}@{entry.seq} had read {agent}@{seq}, and nothing up to there says so: {carried}"
        if any(seq > said.get(agent, 0) for agent, seq in carried.items()):
            yield f"{name}@{entry.seq} carries {carried}, and had read {said}"


def _closure(logs: dict[str, list[DecidedMutation]]) -> dict[tuple[str, int], Read]:
    """By mutation, what was known to who wrote it: itself, and all that was known to what it knew."""
    known: dict[tuple[str, int], Read] = {}
    entries = [(entry.revision.position, name, entry) for name, log in logs.items() for entry in log]
    for _, name, entry in sorted(entries, key=lambda each: each[0]):
        vector = {**known.get((name, entry.seq - 1), {}), name: entry.seq}
        for each in (entry.mutation.observed or Observed()).logs:
            for agent, seq in known.get((each.agent, each.seq), {}).items():
                vector[agent] = max(seq, vector.get(agent, 0))
        known[name, entry.seq] = vector
    return known


def _relation(known: dict[tuple[str, int], Read], a: tuple[str, int], b: tuple[str, int]) -> CausalRelation:
    if a == b:
        return CausalRelation.SAME
    if known[b].get(a[0], 0) >= a[1]:
        return CausalRelation.BEFORE
    return CausalRelation.AFTER if known[a].get(b[0], 0) >= b[1] else CausalRelation.CONCURRENT


async def _compared(
    cluster: SimCluster, node_id: str, a: tuple[str, int], b: tuple[str, int], wanted: CausalRelation
) -> list[str]:
    """What a node by itself says."""
    async with cluster.connect(_NAMESPACE, nodes=[node_id], consistency=Consistency.LOCAL) as client:
        found = await client.compare(LogPoint(*a), LogPoint(*b))
    if found.relation is wanted and not found.has_gaps:
        return []
    return [f"{node_id} says {found.relation} of {a} and {b}, it is {wanted}"]
