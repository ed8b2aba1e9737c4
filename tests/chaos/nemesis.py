"""Faults from a seed: kills, pauses, partitions, one-way cuts, clients cut off; alone and together, and quiet times.

Rules of this file:
- A round has its victims, one to three faults that come and go on them, and a quiet time after it.
- Most rounds leave a majority untouched; some, short ones, do not.
- After a round all nodes run and all wires are whole: what one round did cannot mask what the next does.
- The rounds are a function of the seed; who leads is asked when a round begins.
"""

from __future__ import annotations

import asyncio
import enum
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tallystick.testing.local_cluster import LocalCluster
from tallystick.testing.local_links import CLIENTS
from tests.chaos.connected import Trouble
from tests.chaos.progress import Progress

LEADER_CHANCE: Final = 0.5
"""How often the first victim is the leader."""
MAJORITY_CHANCE: Final = 0.15
"""How often a round hits a majority."""
LASTS_S: Final = (0.5, 5.0)
MAJORITY_LASTS_S: Final = (0.5, 2.0)
QUIET_S: Final = (0.5, 4.0)
LONG_QUIET_S: Final = 8.0
LONG_QUIET_CHANCE: Final = 0.1


class Kind(enum.StrEnum):
    """The faults."""

    KILL = "kill"
    PAUSE = "pause"
    PARTITION = "partition"
    ONE_WAY = "one-way cut"
    CLIENTS = "clients cut off"


_OF_PROCESSES: Final = (Kind.KILL, Kind.PAUSE)
_OF_WIRES: Final = (Kind.PARTITION, Kind.ONE_WAY, Kind.CLIENTS)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a round, on all its victims; `outward` is the way of a cut that has one."""

    kind: Kind
    begins_s: float
    lasts_s: float
    outward: bool


@dataclass(frozen=True, slots=True)
class Round:
    """Some faults at about one time.

    Attributes:
        order: all nodes; the first `victims` are hit, except that the leader comes first if `prefers_leader`.
    """

    order: tuple[str, ...]
    victims: int
    prefers_leader: bool
    faults: tuple[Fault, ...]
    quiet_s: float

    def hit(self, leader: str | None) -> tuple[str, ...]:
        """The victims."""
        first = [leader] if self.prefers_leader and leader is not None else []
        return (*first, *(node for node in self.order if node not in first))[: self.victims]


def rounds(seed: int, nodes: Sequence[str]) -> Iterator[Round]:
    """The rounds of a seed, without end."""
    rng = random.Random(f"nemesis {seed}")
    majority = len(nodes) // 2 + 1
    while True:
        hits_majority = rng.random() < MAJORITY_CHANCE
        least, most = (majority, len(nodes)) if hits_majority else (1, len(nodes) - majority)
        yield Round(
            order=tuple(rng.sample(list(nodes), len(nodes))),
            victims=rng.randint(least, max(least, most)),
            prefers_leader=rng.random() < LEADER_CHANCE,
            faults=tuple(_faults(rng, MAJORITY_LASTS_S if hits_majority else LASTS_S)),
            quiet_s=LONG_QUIET_S if rng.random() < LONG_QUIET_CHANCE else rng.uniform(*QUIET_S),
        )


def _faults(rng: random.Random, lasts_s: tuple[float, float]) -> Iterator[Fault]:
    """One or more faults: at most one of processes, since what is dead cannot be frozen."""
    count = rng.choices((1, 2, 3), weights=(6, 3, 1))[0]
    of_process = rng.random() < 0.6
    kinds = rng.sample(_OF_WIRES, count - of_process) + ([rng.choice(_OF_PROCESSES)] if of_process else [])
    for place, kind in enumerate(kinds):
        begins_s = rng.uniform(0.0, 1.0) if place else 0.0
        yield Fault(kind, begins_s, rng.uniform(*lasts_s), outward=rng.random() < 0.5)


class Nemesis:
    """Does it to a cluster, and tells of the majority."""

    def __init__(self, cluster: LocalCluster, progress: Progress) -> None:
        self.done: Counter[str] = Counter()
        self.on_leader = 0
        self._cluster = cluster
        self._progress = progress
        self._trouble = Trouble()

    async def run(self, seed: int, until_s: float) -> None:
        """Rounds until the time has come; the last one is brought to its end.

        Raises:
            LocalClusterError: a node ended by itself.
            AssertionError: a node that was started does not answer.
        """
        for each in rounds(seed, self._cluster.node_ids):
            await asyncio.sleep(each.quiet_s)
            if time.monotonic() >= until_s:
                return
            await self._round(each)

    async def _round(self, each: Round) -> None:
        leader = await self._cluster.leader()
        victims = each.hit(leader)
        for node_id in self._cluster.node_ids:
            self._cluster._check_runs(self._cluster.nodes[node_id])
        self.on_leader += leader in victims
        try:
            async with asyncio.TaskGroup() as tasks:
                for fault in each.faults:
                    tasks.create_task(self._fault(fault, victims))
        finally:
            await self._cluster.heal()
        self._trouble.cuts.clear()
        self._tell("healed")

    async def _fault(self, fault: Fault, victims: Sequence[str]) -> None:
        await asyncio.sleep(fault.begins_s)
        self.done[fault.kind] += 1
        name = f"{fault.kind} of {', '.join(victims)}"
        if fault.kind in _OF_PROCESSES:
            self._trouble.silent |= set(victims)
        else:
            self._cut(fault, victims)
        self._tell(name)
        await self._begin(fault.kind, victims)
        await asyncio.sleep(fault.lasts_s)
        if fault.kind in _OF_PROCESSES:
            await self._end(fault.kind, victims)
            self._trouble.silent -= set(victims)
            self._tell(f"end of {name}")

    async def _begin(self, kind: Kind, victims: Sequence[str]) -> None:
        if kind is Kind.KILL:
            await self._cluster.kill(*victims)
        elif kind is Kind.PAUSE:
            await self._cluster.pause(*victims)
        else:
            for source, target in sorted(self._trouble.cuts):
                await self._cluster.cut(source, target)

    async def _end(self, kind: Kind, victims: Sequence[str]) -> None:
        if kind is Kind.KILL:
            await self._cluster.start(*victims)
        else:
            await self._cluster.resume(*victims)

    def _cut(self, fault: Fault, victims: Sequence[str]) -> None:
        """Adds the wires that a fault cuts; those of a round stay cut to its end."""
        nodes = self._cluster.node_ids
        if fault.kind is Kind.PARTITION and len(victims) > len(nodes) // 2:
            self._trouble.partition([[victim] for victim in victims], nodes)  # no majority anywhere
        elif fault.kind is Kind.PARTITION:
            self._trouble.partition([victims], nodes)
        else:
            others = (CLIENTS,) if fault.kind is Kind.CLIENTS else self._cluster.others(*victims) or victims[1:]
            ways = {(victim, other) for victim in victims for other in others if victim != other}
            self._trouble.cuts |= ways if fault.outward else {(target, source) for source, target in ways}

    def _tell(self, what: str) -> None:
        has_majority = self._trouble.has_majority(self._cluster.node_ids)
        self._progress.changed(time.monotonic(), has_majority=has_majority, faults=what)
