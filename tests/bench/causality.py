"""What it costs to say what was read: appends that carry nothing, one other log, and as many as may be, in turns."""

from __future__ import annotations

import time
from typing import Final

import tallystick
from tallystick import Agent, Client, LogPoint, Mutation, Observed, ObservedLog, ops
from tests.bench.bench import Bench, mutation
from tests.bench.figures import Reading
from tests.bench.timing import percentile

_LOGS: Final = 64
_SEQS: Final = 400
"""Mutations of each log that is read: what one append carries is news."""


async def observing(bench: Bench) -> list[Reading]:
    """One caller, who appends to three agents, one after the other; what is read has gone on meanwhile."""
    endpoints = [bench.cluster.endpoint(node_id) for node_id in bench.cluster.node_ids]
    async with tallystick.connect(endpoints, namespace="observing", observe=False) as client:
        return await _observing(client, 6 * bench.plan.latency_s)


async def _observing(client: Client, seconds: float) -> list[Reading]:
    """The client says by itself nothing of what was read: what is measured says it."""
    read = [await _written(client, f"read-{number}") for number in range(_LOGS)]
    carrying = {0: client.agent("carries-0"), 1: client.agent("carries-1"), _LOGS: client.agent(f"carries-{_LOGS}")}
    taken: dict[int, list[float]] = {count: [] for count in carrying}
    ends_s = time.perf_counter() + seconds
    turn = 0
    while time.perf_counter() < ends_s and turn < _SEQS:
        for count in (*carrying, *reversed(carrying)):
            seen = Observed(tuple([log[turn] for log in read[:count]]))
            taken[count].append(await _append_ms(carrying[count], seen))
        turn += 1
    none_ms, one_ms, all_ms = (percentile(sorted(each), 0.5) for each in taken.values())
    compared_ms = [await _compare_ms(client) for _ in range(50)]
    return [
        Reading("observing_ratio", one_ms / none_ms),
        Reading("observing_64_ratio", all_ms / none_ms),
        Reading("compare_ms", percentile(sorted(compared_ms), 0.5)),
    ]


async def _written(client: Client, name: str) -> list[ObservedLog]:
    """An agent of many mutations, each as it would be read."""
    agent = client.agent(name)
    await agent.append_many([Mutation.of(ops.increment("/n", 1))] * _SEQS)
    return [ObservedLog(name, entry.seq, hash=entry.hash) async for entry in agent.log()]


async def _append_ms(agent: Agent, seen: Observed) -> float:
    made = mutation()
    carrying = Mutation(made.kind, made.operations, observed=seen) if seen else made
    began_s = time.perf_counter()
    await agent.append_many((carrying,))
    return (time.perf_counter() - began_s) * 1e3


async def _compare_ms(client: Client) -> float:
    began_s = time.perf_counter()
    await client.compare(LogPoint("read-0", 1), LogPoint(f"carries-{_LOGS}"))
    return (time.perf_counter() - began_s) * 1e3
