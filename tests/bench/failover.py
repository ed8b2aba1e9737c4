"""How long nobody is answered after the leader's SIGKILL."""

from __future__ import annotations

import time

from tests.bench.bench import Bench, mutation
from tests.bench.figures import Reading


async def kill_leader(bench: Bench) -> list[Reading]:
    """From the kill to the acknowledgement of the next append, by a client that knew the old leader."""
    readings: list[Reading] = []
    agent = bench.client.agent("failover")
    for _ in range(bench.plan.kills):
        leader = await bench.cluster.wait_for_leader()
        await agent.append_many((mutation(),))
        began_s = time.perf_counter()
        bench.cluster.kill(leader)
        await agent.append_many((mutation(),))
        readings.append(Reading("failover_ms", (time.perf_counter() - began_s) * 1e3))
        await bench.cluster.start(leader)
        await bench.cluster.wait_equal()
    bench.leader = await bench.cluster.wait_for_leader()
    return readings
