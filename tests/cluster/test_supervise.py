"""Supervisors in processes of their own: one is told to end, one is killed; the agent goes on where it was."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.cluster.harness import Cluster

WAIT_S: Final = 60.0
PROGRAM: Final = """
import asyncio, sys
import tallystick
from tallystick import ops

async def count(agent, lease):
    number = ((await agent.rehydrate()).state or {}).get("n", 0)
    try:
        while True:
            number += 1
            await agent.append(ops.set("/n", number))
            print(lease.epoch, number, flush=True)
    finally:
        await agent.checkpoint(f"ended-{lease.epoch}", metadata={"n": number})

async def main(endpoints):
    async with tallystick.connect(endpoints, namespace="demo") as client:
        async with tallystick.supervise(client, {"counter": count}, ttl_s=2.0) as supervisor:
            await supervisor.run_until_signalled()

asyncio.run(main(sys.argv[1]))
"""


@asynccontextmanager
async def supervisor(program: Path, endpoints: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), endpoints, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def told(process: asyncio.subprocess.Process) -> tuple[int, int]:
    """The epoch and the number that it tells of next."""
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_S):
        line = await process.stdout.readline()
    assert line, "it ended by itself"
    epoch, number = line.split()
    return int(epoch), int(number)


async def test_an_agent_is_handed_over_and_taken_over(tmp_path: Path) -> None:
    program = tmp_path / "supervisor.py"
    program.write_text(PROGRAM)
    async with Cluster(tmp_path, contexts=False) as cluster, cluster.connect() as client:
        endpoints = ",".join(cluster.endpoint(node_id) for node_id in cluster.node_ids)
        async with supervisor(program, endpoints) as first:
            assert await told(first) == (1, 1)
            async with supervisor(program, endpoints) as second, supervisor(program, endpoints) as third:
                first.send_signal(signal.SIGTERM)
                async with asyncio.timeout(WAIT_S):
                    assert await first.wait() == 0
                state = (await client.agent("counter").read(checkpoint="ended-1")).state
                assert isinstance(state, dict) and isinstance(state["n"], int)
                number = state["n"]  # one more may have been on its way when it was told to end
                waiting = [asyncio.create_task(told(process)) for process in (second, third)]
                done, left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=WAIT_S)
                ((epoch, first_number),) = (task.result() for task in done)
                assert epoch == 2 and first_number - number in (1, 2)
                (second if waiting[0] in done else third).kill()
                (heir,) = left
                epoch, later = await heir
                assert epoch == 3 and later > first_number
        numbers = [
            operation.value async for mutation in client.agent("counter").log() for operation in mutation.operations
        ]
        assert numbers == list(range(1, len(numbers) + 1)), "two ran at once"
