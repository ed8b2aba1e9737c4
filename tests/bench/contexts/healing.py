"""How soon all nodes hold the same after a partition in which both sides were edited."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from tallystick import Client
from tallystick.testing.local_wait import eventually
from tests.bench.contexts.plan import Plan
from tests.bench.figures import Reading
from tests.cluster.harness import Cluster
from tests.cluster.harness_replicas import verify

_EDITS: Final = 200
_DEADLINE_S: Final = 60.0


async def heal(folder: Path, plan: Plan) -> list[Reading]:
    """Edits on both sides of a partition; from its end until `VerifyContexts` finds the digests equal."""
    async with Cluster(folder, proxied=True) as cluster:
        await cluster.wait_for_leader()
        async with (
            cluster.connect(nodes=["a"], actor="alone") as alone,
            cluster.connect(nodes=["b"], actor="most") as most,
        ):
            return [await _once(cluster, alone, most, f"split-{number}") for number in range(plan.heals)]


async def _once(cluster: Cluster, alone: Client, most: Client, name: str) -> Reading:
    async with alone.context(name) as one, most.context(name) as other:
        cluster.isolate("a")
        for context, key in ((one, "one"), (other, "other")):
            for edit in range(_EDITS):
                with context.transaction(f"{key}-{edit}"):
                    context.map("m")[f"{key}-{edit}"] = edit
            await context.flush(ack="local")
        began_s = time.perf_counter()
        cluster.heal()
        await eventually(lambda: _is_equal(cluster, name), within_s=_DEADLINE_S, what="equal digests")
        return Reading("heal_ms", (time.perf_counter() - began_s) * 1e3, note=f"{_EDITS} edits on each side")


async def _is_equal(cluster: Cluster, name: str) -> bool:
    return await verify(cluster, "b", name)
