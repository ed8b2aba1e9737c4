"""Payloads on real nodes: the leader is killed while one is put, and what nothing names is collected.

What needs no processes is in `tests/sim_cluster/test_payloads.py`.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Final

from tallystick import Client, Consistency, NotFound, PayloadProgress, PayloadRef, ops
from tallystick.testing.local_wait import eventually
from tests.cluster.harness import Cluster

WAIT_S: Final = 90.0
GRACE_S: Final = 2
SIZE_BYTES: Final = 6 * 1024 * 1024


async def named(client: Client, content: bytes, ref: PayloadRef) -> None:
    """An agent names the payload; it may have been collected since it was put, on a busy machine."""
    while True:
        try:
            await client.agent("writer").append(ops.set("/doc", ref))
        except NotFound:
            await client.payloads.put(content)
        else:
            return


async def test_what_was_put_while_the_leader_was_killed_is_whole_everywhere(tmp_path: Path) -> None:
    content = random.Random(7).randbytes(SIZE_BYTES)
    async with Cluster(tmp_path, flags=("--payload-grace-s", str(GRACE_S)), contexts=False) as cluster:
        leader = await cluster.wait_for_leader()
        killed: list[str] = []

        def told(progress: PayloadProgress) -> None:
            if progress.moved_bytes > SIZE_BYTES // 2 and not killed:
                cluster.kill(leader)
                killed.append(leader)

        async with asyncio.timeout(WAIT_S), cluster.connect() as client:
            ref = await client.payloads.put(content, progress=told)
            assert killed == [leader]
            await named(client, content, ref)
            lost = await client.payloads.put(content[: SIZE_BYTES // 2])
            await cluster.start(leader)
            await cluster.wait_equal()
            for node_id in cluster.node_ids:
                async with cluster.connect(nodes=[node_id], consistency=Consistency.LOCAL) as local:
                    assert await local.payloads.get(ref) == content

            async def is_left(*left: PayloadRef) -> bool:
                return [each.ref async for each in client.payloads.list()] == list(left)

            await eventually(lambda: is_left(ref), within_s=WAIT_S, what=f"{lost} is collected")
            assert await client.payloads.get(ref) == content
            await client.agent("writer").delete()
            await eventually(is_left, within_s=WAIT_S, what=f"{ref} is collected")
            assert await client.payloads.stored_bytes() == 0
