"""Many agents: how fast they come, and what memory the nodes need with all of them stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Final

from tests.bench.bench import Bench, mutation
from tests.bench.figures import Reading
from tests.bench.processes import rss_bytes

_CALLERS: Final = 128
_TARGET_AGENTS: Final = 100_000
_MIB: Final = 1024 * 1024


async def many_agents(bench: Bench) -> list[Reading]:
    """Each agent gets one mutation; then the nodes are looked at."""
    count = bench.plan.agents
    names = iter(range(count))
    cpu = bench.cpu()
    began_s = time.perf_counter()
    await asyncio.gather(*(_create(bench, names) for _ in range(_CALLERS)))
    taken_s = time.perf_counter() - began_s
    cost = cpu.cost(count)
    await bench.cluster.wait_equal()
    note = f"{count:,} agents in {taken_s:.1f} s, {_CALLERS} callers"
    readings = [Reading("agents_rate", count / taken_s, cost, note)]
    key = "rss_mib" if count >= _TARGET_AGENTS else "rss_few_mib"
    nodes = bench.cluster.nodes.values()
    return readings + [Reading(key, rss_bytes(node.pid) / _MIB, note=f"{count:,} agents") for node in nodes]


async def _create(bench: Bench, names: Iterator[int]) -> None:
    for number in names:
        await bench.client.agent(f"fleet-{number:07}").append_many((mutation(),))
