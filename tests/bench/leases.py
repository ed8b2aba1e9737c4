"""What a lease costs the one who writes under it: appends with and without, in turns."""

from __future__ import annotations

import time
from typing import Final

from tallystick import Agent
from tests.bench.bench import Bench, mutation
from tests.bench.figures import Reading
from tests.bench.timing import percentile

_TTL_S: Final = 60.0


async def under_lease(bench: Bench) -> list[Reading]:
    """One caller, who appends to an agent that it owns and to one that nobody owns, one after the other."""
    owned, free = bench.client.agent("owned"), bench.client.agent("free")
    taken: dict[str, list[float]] = {owned.name: [], free.name: []}
    async with owned.lease(ttl_s=_TTL_S):
        ends_s = time.perf_counter() + 4 * bench.plan.latency_s
        while time.perf_counter() < ends_s:
            for agent in (owned, free, free, owned):
                taken[agent.name].append(await _append_ms(agent))
    median_ms, free_ms = (percentile(sorted(taken[agent.name]), 0.5) for agent in (owned, free))
    return [Reading("lease_append_ms", median_ms), Reading("lease_ratio", median_ms / free_ms)]


async def _append_ms(agent: Agent) -> float:
    began_s = time.perf_counter()
    await agent.append_many((mutation(),))
    return (time.perf_counter() - began_s) * 1e3
