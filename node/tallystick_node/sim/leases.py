"""Who holds leases in a seed's workload, and writes on when it has lost them; and what must hold of it.

Rules of this file:
- A holder writes under its epoch until a node refuses that, whatever its own clock says: it is the log that must keep
  it out. Now and then it renews no more, and does not release either, as one that is frozen.
- Somebody who knows of no leases writes the same agents.
- What a write carries, its epoch, is what it appends, so that the log shows who wrote what.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from tallystick import Client, Lease, LeaseChange, LeaseEvent, Mutation, ops
from tallystick._convert import mutation_message
from tallystick._methods import append_method
from tallystick.errors import NotFound, Refused, StaleOwner, TallystickError
from tallystick.v1 import common_pb2, state_pb2
from tallystick_node.sim.cluster import SimCluster

AGENTS: Final = 2
HOLDERS: Final = 3
NO_LEASE: Final = 0
PAUSE_S: Final = 0.3
"""Between two writes of a holder, on average."""
_TTLS_S: Final = (1.0, 1.5, 3.0)
_ROUNDS: Final = 12
"""Writes under one lease, at most."""
_FROZEN: Final = 0.3
"""How often a holder is frozen."""


@dataclass
class LeaseRecords:
    """What was asked and told.

    Attributes:
        acquired: agent, epoch and holder of each acquisition that was acknowledged.
        written: agent and element of each write that was acknowledged.
        watched: what the watch told of leases.
        wrong: answers that were wrong by themselves.
    """

    acquired: list[tuple[str, int, str]] = field(default_factory=list)
    written: list[tuple[str, str]] = field(default_factory=list)
    watched: list[LeaseEvent] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Holder:
    """A program of the workload: one that holds leases in turn with others, or one that knows of none."""

    def __init__(self, cluster: SimCluster, records: LeaseRecords, name: str, rng: random.Random) -> None:
        self._cluster = cluster
        self._records = records
        self._name = name
        self._rng = rng
        self._count = 0

    async def run(self, client: Client, ends_s: float) -> None:
        """Holds leases until the time is over."""
        while self._cluster.now_s < ends_s:
            await asyncio.sleep(self._rng.expovariate(1 / PAUSE_S))
            agent = client.agent(_agent(self._rng))
            lease = agent.lease(ttl_s=self._rng.choice(_TTLS_S), wait_s=self._rng.choice((0.0, 2.0, 5.0)))
            try:
                await lease.__aenter__()
            except TallystickError:
                continue
            self._records.acquired.append((agent.name, lease.epoch, lease.holder))
            is_frozen = self._rng.random() < _FROZEN
            if is_frozen and lease._keeping is not None:  # noqa: SLF001 - it renews no more
                lease._keeping.cancel()  # noqa: SLF001
            await self._hold(client, agent.name, lease, ends_s)
            if not is_frozen:
                await lease.__aexit__(None, None, None)

    async def run_without(self, client: Client, ends_s: float) -> None:
        """Writes without a lease until the time is over."""
        while self._cluster.now_s < ends_s:
            await asyncio.sleep(self._rng.expovariate(1 / (2 * PAUSE_S)))
            await self._write(client, _agent(self._rng), NO_LEASE)

    async def _hold(self, client: Client, agent: str, lease: Lease, ends_s: float) -> None:
        for _ in range(_ROUNDS):
            if not await self._write(client, agent, lease.epoch):
                if lease._confirmed_s + lease.ttl_s > self._cluster.now_s:  # noqa: SLF001 - what it still counts on
                    self._records.wrong.append(f"{lease} of {agent} was given up before its time")
                return
            if self._cluster.now_s > ends_s:
                return
            await asyncio.sleep(self._rng.expovariate(1 / PAUSE_S))

    async def _write(self, client: Client, agent: str, epoch: int) -> bool:
        """Whether the epoch still stands, as far as is known."""
        self._count += 1
        element = f"{epoch}:{self._name}.{self._count}"
        calls = client._calls  # noqa: SLF001 - the write of who does not know that it lost its lease
        request = state_pb2.AppendRequest(
            agent=common_pb2.AgentRef(namespace=client.namespace, agent=agent),
            mutations=[mutation_message(Mutation.of(ops.append("/log", element)))],
            idempotency_key=calls.outside.new_key(),
            epoch=epoch,
            actor=self._name,
        )
        try:
            await calls.write(append_method, request, key=request.idempotency_key, timeout_s=None)
        except StaleOwner:
            return False
        except TallystickError:
            return True
        self._records.written.append((agent, element))
        return True


def _agent(rng: random.Random) -> str:
    return f"leased-{rng.randrange(AGENTS)}"


async def broken(client: Client, records: LeaseRecords, within_s: float) -> list[str]:
    """What does not hold, once everything is healed and the watch has told all."""
    complaints = [*records.wrong, *_of_events(records)]
    for number in range(AGENTS):
        agent = f"leased-{number}"
        complaints += await _of_log(client, agent, records)
        try:
            async with client.agent(agent).lease(wait_s=within_s):
                pass
        except Refused as error:
            complaints.append(f"the lease of {agent} does not end: {error}")
    return complaints


def _of_events(records: LeaseRecords) -> Iterator[str]:
    """Epochs rise by one, nobody acquires what is held, and what ends is what was held."""
    held: dict[str, LeaseEvent] = {}
    epochs: dict[str, int] = {}
    for event in records.watched:
        before = held.pop(event.agent, None)
        if event.change is LeaseChange.ACQUIRED:
            if before is not None:
                yield f"{event.holder} acquired {event.agent} while {before.holder} held it"
            if event.epoch != epochs.get(event.agent, 0) + 1:
                yield f"epoch {event.epoch} of {event.agent} came after {epochs.get(event.agent, 0)}"
            epochs[event.agent], held[event.agent] = event.epoch, event
        elif before is None or (before.epoch, before.holder) != (event.epoch, event.holder):
            yield f"epoch {event.epoch} of {event.agent} ended and was not held"
    known = {
        (event.agent, event.epoch, event.holder) for event in records.watched if event.change is LeaseChange.ACQUIRED
    }
    for acquired in records.acquired:
        if acquired not in known:
            yield f"{acquired} was acknowledged and not watched"


async def _of_log(client: Client, agent: str, records: LeaseRecords) -> list[str]:
    """Each write stands where its epoch was held, those without one where none was; acknowledged ones stand once."""
    events = [event for event in records.watched if event.agent == agent]
    positions = [event.revision.position for event in events]
    written: Counter[str] = Counter()
    complaints = []
    try:
        entries = [entry async for entry in client.agent(agent).log()]
    except NotFound:
        entries = []
    for entry in entries:
        element = str(entry.operations[0].value)
        written[element] += 1
        last = bisect_right(positions, entry.revision.position) - 1
        is_held = last >= 0 and events[last].change is LeaseChange.ACQUIRED
        allowed = events[last].epoch if is_held else NO_LEASE
        if int(element.partition(":")[0]) != allowed:
            complaints.append(f"{element} stands in {agent} where epoch {allowed} could write")
    for name, element in records.written:
        if name == agent and written[element] != 1:
            complaints.append(f"{element} was acknowledged and is {written[element]} times in {agent}")
    return complaints
